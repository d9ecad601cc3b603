"""Builds the binding to libqatzip where it is wanted; everything else is in pyproject.toml."""

from build_flag import Feature, setup

setup(
    Feature(
        name="qatzip",
        libraries=("qatzip",),
        module="codecs_core_qatzip._binding",
        binding="src/codecs_core_qatzip/binding_build.py",
        packages={
            "Debian 13, Ubuntu 24.04 and later": "libqatzip-dev",
            "Fedora, openSUSE and RHEL": "qatzip-devel",
        },
    )
)
