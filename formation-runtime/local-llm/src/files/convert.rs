//! Conversion of a GGUF whose tensors would run without vector instructions.

use std::collections::BTreeMap;
use std::io::{Read, Seek, Write};

use candle_core::quantized::gguf_file::{self, Content};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Result};

/// The engine computes these types one number at a time, 5 to 10 times slower than the others.
pub fn is_slow(dtype: GgmlDType) -> bool {
    matches!(dtype, GgmlDType::Q4_1 | GgmlDType::Q5_0 | GgmlDType::Q5_1)
}

/// The names of the tensors that would run slowly, in order.
pub fn slow_tensors(content: &Content) -> Vec<&str> {
    let mut names: Vec<_> = content
        .tensor_infos
        .iter()
        .filter(|(_, info)| is_slow(info.ggml_dtype))
        .map(|(name, _)| name.as_str())
        .collect();
    names.sort_unstable();
    names
}

/// Writes the same model with every slow tensor as `Q8_0`; metadata and other tensors stay.
///
/// Names are written in order, so that equal input gives equal bytes.
pub(super) fn convert<R: Read + Seek, W: Write + Seek>(
    source: &mut R,
    target: &mut W,
) -> Result<()> {
    let content = Content::read(source)?;
    let mut tensors = BTreeMap::new();
    for (name, info) in &content.tensor_infos {
        let tensor = content.tensor(source, name, &Device::Cpu)?;
        let tensor = if is_slow(info.ggml_dtype) {
            QTensor::quantize(&tensor.dequantize(&Device::Cpu)?, GgmlDType::Q8_0)?
        } else {
            tensor
        };
        tensors.insert(name.as_str(), tensor);
    }
    let metadata: BTreeMap<_, _> =
        content.metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    gguf_file::write(
        target,
        &metadata.into_iter().collect::<Vec<_>>(),
        &tensors.iter().map(|(name, tensor)| (*name, tensor)).collect::<Vec<_>>(),
    )
}
