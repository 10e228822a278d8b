//! The version of a resource: a hash of its content, so that every replica gives equal content an equal version.

use crate::grpc::update::State;

/// A stable 64-bit hash of an encoded state, never 0 (which stands for "holds nothing"). Endpoints must be whole: `full`,
/// without `more`. FNV-1a over the bytes with MurmurHash3's finaliser: two versions of one resource collide by chance once in
/// 2^64, and nobody gains by a collision among objects that he may write himself.
pub fn version(state: &State) -> u64 {
    let mut bytes = Vec::with_capacity(state.encoded_len());
    state.encode(&mut bytes);
    let mut hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (hash ^ (hash >> 33)).max(1)
}
