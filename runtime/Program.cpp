#include "runtime/Program.h"

#include "runtime/Threads.h"

#include "runtime/formats/Error.h"

#include <algorithm>

namespace hw::runtime {

void checkProgram(const hw_program &program) {
  if (program.abi != HW_ABI)
    fail("this program was compiled for version {} of the runtime, but this one is version {}: build it again with "
         "this hwc",
         program.abi, HW_ABI);
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool has512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const bool has256 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  const bool has512 = false, has256 = false;
#endif
  const char *cpu = program.cpu ? program.cpu : "";
  if (program.vector_bytes > 32 && !has512)
    fail("this program was built for a CPU with AVX-512 ({}), which this machine's CPU lacks: build it with --cpu {}",
         cpu, has256 ? "x86-64-v3" : "x86-64");
  if (program.vector_bytes > 16 && !has256)
    fail("this program was built for a CPU with AVX2 and FMA ({}), which this machine's CPU lacks: build it with --cpu "
         "x86-64",
         cpu);
}

Program::Program(const hw_program &program) : descriptor(program) {
  checkProgram(program);
  plan = readPlanHead(program);
}

void Program::getScratch(int width) {
  uint64_t scratch = plan.scratch;
  for (uint64_t i = 0; i < descriptor.entry_count; ++i)
    scratch = std::max(scratch, descriptor.entries[i].scratch + uint64_t(width) * descriptor.entries[i].thread_scratch);
  scratchMemory = Memory(scratch, "the program");
}

void Program::load() {
  arena = Memory(plan.arena, "the program");
  getScratch(threads());
  placeSlots(plan, arena.data());
  readPlanBody(descriptor, plan);
  for (const Setting &setting : plan.settings)
    if (setting.slot)
      setting.slot->set(setting.value);
  getOneDnn(OneDnn::Width::program);
}

void Program::loadBeside(const Program &main, const TurnsNode &node) {
  arena = Memory(plan.arena, "a run beside others"); // of which nothing is touched but a turn's own
  getScratch(1);
  placeSlots(plan, arena.data());
  for (size_t i = 0; i < plan.slots.size(); ++i)
    if (i < node.own || i >= node.ownEnd)
      plan.slots[i].data = main.plan.slots[i].data;
  readPlanBody(descriptor, plan);
  getOneDnn(OneDnn::Width::one);
}

void Program::getOneDnn(OneDnn::Width width) {
  if (descriptor.matmul_count + descriptor.convolution_count > 0)
    oneDnn = std::make_unique<OneDnn>(descriptor, width);
}

void Program::serveThisThread() {
  runAlone();
  if (oneDnn)
    oneDnn->serveThisThread();
}

RunIdentity Program::identity() const {
  RunIdentity identity{plan.name,
                       plan.identity,
                       HW_VERSION,
                       descriptor.cpu ? descriptor.cpu : "",
                       oneDnnVersion(),
                       descriptor.vector_bytes,
                       threads(),
                       plan.quick,
                       {}};
  for (const Setting &setting : plan.settings)
    identity.settings.emplace_back(setting.name, setting.value);
  return identity;
}

} // namespace hw::runtime
