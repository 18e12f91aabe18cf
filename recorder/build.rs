//! How the C library is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Programs name it by this, wherever it lay when they were linked.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libtidegauge_recorder.so");
    // Its threads run, and other threads may be inside a call, until the process ends: dlclose must not take the code
    // away from under them.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
