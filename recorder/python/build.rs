//! The module's own C functions are its own, also in a program that is linked with the C library of the recorder: that
//! one's, of the same names, would otherwise be called instead, and record into another recorder.

fn main() {
    println!("cargo::rustc-cdylib-link-arg=-Wl,-Bsymbolic");
    println!("cargo::rerun-if-changed=build.rs");
}
