//! Wire to model and back. Nothing else names protobuf types.
