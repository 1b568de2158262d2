// Safetensors (https://github.com/huggingface/safetensors#format): named tensors behind a JSON header. Written here,
// read from anywhere: nothing in the file is believed before it is checked.
#pragma once

#include "runtime/formats/ByteReader.h"
#include "runtime/formats/Tensor.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace hw {

class AtomicFile;
class OutDir;

struct NamedTensor {
  std::string name;
  TensorRef tensor;
};

using Metadata = std::map<std::string, std::string>;

/// Writes through a temporary file, a flush and a rename, with "format": "pt" in the metadata unless that says
/// otherwise. Within the file, wider elements come first, so that all are aligned; readers go by name. Throws if a name
/// is there twice, or is "__metadata__".
void writeSafetensors(const std::string &path, const std::vector<NamedTensor> &tensors, const Metadata &metadata = {});
void writeSafetensors(AtomicFile file, const std::vector<NamedTensor> &tensors, const Metadata &metadata = {});
/// The same into a run's folder, as `<name>.safetensors`. Returns the path written.
std::string writeSafetensors(OutDir &out, const std::string &name, const std::vector<NamedTensor> &tensors,
                             const Metadata &metadata = {});

class SafetensorsFile {
public:
  struct Entry {
    std::string name;
    TensorHeader header; ///< as read() gives it: f32 for the 16-bit types F16 and BF16
    std::string type;    ///< as the file calls it: "F32", "BF16"
    uint64_t offset;     ///< bytes from the start of the file
    uint64_t bytes;      ///< in the file
  };

  /// Reads and checks the header: its length, JSON, names that differ, shapes that agree with the offsets, offsets that
  /// cover the data without gap or overlap, the file's length, element types that DType has or that f32 holds exactly.
  explicit SafetensorsFile(const std::string &path, ByteReader::Whose whose = ByteReader::Whose::users);
  ~SafetensorsFile();
  SafetensorsFile(SafetensorsFile &&) noexcept;

  const std::vector<Entry> &entries() const; ///< in the order of their data
  const Metadata &metadata() const;
  /// Null if there is no tensor of that name.
  const Entry *find(const std::string &name) const;
  Tensor read(const Entry &entry) const;
  /// Throws, listing some names that there are, if `name` is not one.
  Tensor read(const std::string &name) const;

private:
  struct State;
  std::unique_ptr<State> state;
};

} // namespace hw
