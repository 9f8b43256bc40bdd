"""Files of named arrays, ours and other libraries': safetensors and npz."""
