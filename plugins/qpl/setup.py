"""Builds the bindings to the libraries that are wanted; everything else is in pyproject.toml."""

from build_flag import Feature, setup

setup(
    Feature(
        name="qpl",
        libraries=("qpl >= 1.5.0",),
        module="codecs_core_qpl._binding",
        binding="src/codecs_core_qpl/binding_build.py",
        packages={
            "Debian unstable": "libqpl-dev",
            "other systems": "libqpl from https://github.com/intel/qpl",
        },
    ),
    Feature(
        name="isal",
        libraries=("libisal", "libdeflate"),
        module="codecs_core_qpl._software",
        binding="src/codecs_core_qpl/software_build.py",
        packages={
            "Debian and Ubuntu": "libisal-dev and libdeflate-dev",
            "Fedora, openSUSE and RHEL": "isa-l-devel and libdeflate-devel",
        },
    ),
)
