#compdef hwc
# Completion of hwc for zsh. Load it with:  source <(hwc completion zsh)
_hwc() {
  local -a commands model_flags
  commands=(
    'check:types, shapes, parameters and memory, without running'
    'build:write a native executable that trains'
    'run:compile in memory and run at once'
    'emit:show the program at any stage'
    'bench:time the compiled graphs'
    'gradcheck:gradients against central differences'
    'fmt:one canonical layout'
    'completion:print the completion of a shell')
  model_flags=('--quick[the sizes that the file states for a first look]' '*--set[give a setting another value]:NAME=VALUE:'
    '--f64[compute in f64]' '--cpu[the CPU to compile for]:CPU:' '--data[where data sets are]:folder:_directories'
    '--help[what this command takes]')
  local -a program_flags products_flag
  program_flags=('--threads[how many threads]:N:')
  products_flag=('--products[who does matrix products]:way:(auto library generated)')
  if (( CURRENT == 2 )); then
    _describe command commands
    _arguments '--help[what hwc does]' '--version[which hwc this is]'
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
    check) _arguments $model_flags '*:model:_files -g "*.hw"' ;;
    run) _arguments $model_flags $program_flags '--out[where results go]:folder:_directories' \
      '--force[replace an earlier run]' '--resume[go on with an interrupted run]' '--checkpoint[seconds between checkpoints]:SECONDS:' \
      '--trace[a timeline in Chrome'"'"'s trace format]:file:_files' '--quiet[no progress]' '--describe[list settings, tables and figures]' '*:model:_files -g "*.hw"' ;;
    build) _arguments $model_flags {-o,--output}'[the executable to write]:file:_files' \
      '--bundle[copy all it needs there]:folder:_directories' '--marks[let --trace show kernels]' '*:model:_files -g "*.hw"' ;;
    emit) _arguments $model_flags $products_flag {-o,--output}'[the file to write]:file:_files' \
      '--stage[which stage]:stage:(ast hw derivatives outlined kernels llvm asm obj plan dot)' '*:model:_files -g "*.hw"' ;;
    bench) _arguments $model_flags $program_flags $products_flag '--kernels[a table of a step'"'"'s kernels]' '--no-kernels[no such table]' \
      '--trace[a timeline in Chrome'"'"'s trace format]:file:_files' '--benchmark_filter=[which graphs]:regex:' \
      '--benchmark_format=[how to print]:format:(console json csv)' '--benchmark_min_time=[seconds each]:seconds:' \
      '--benchmark_repetitions=[how often]:N:' '*:model:_files -g "*.hw"' ;;
    gradcheck) _arguments $model_flags $program_flags '*:model:_files -g "*.hw"' ;;
    fmt) _arguments '--check[only say whether it is formatted]' '--stdout[print instead of rewriting]' '--help' '*:model:_files -g "*.hw"' ;;
    completion) _arguments '1:shell:(bash zsh)' ;;
  esac
}
compdef _hwc hwc
