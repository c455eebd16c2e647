//! The macro that makes a library of plugins.

/// Exports plugins from a `cdylib`: one C static and no logic. Use it once per library.
///
/// ```text
/// export_plugins!(TopicVolume, TopicNewest);
/// ```
#[macro_export]
macro_rules! export_plugins {
    ($($plugin:ty),+ $(,)?) => {
        #[cfg(panic = "abort")]
        compile_error!("a plugin must be built with panic = \"unwind\": the daemon survives its panics only then");

        #[allow(unsafe_code, reason = "an exported symbol; it holds data and no code")]
        const _: () = {
            static PLUGINS: &[&$crate::abi::AbiPlugin] =
                &[$(&const { $crate::abi::plugin::<$plugin>(env!("CARGO_PKG_VERSION")) }),+];

            #[unsafe(no_mangle)]
            static STATSCACHE_PLUGINS: $crate::abi::AbiLibrary = $crate::abi::library(PLUGINS);
        };
    };
}
