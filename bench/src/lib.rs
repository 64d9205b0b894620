//! (arrives with its code)
