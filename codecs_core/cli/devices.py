"""``multifd devices``: the accelerators of a host, and what keeps them from being used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from codecs_core.cli.output import json_option, print_json, print_table, printable, size
from codecs_core.hardware import accelerators, capture
from codecs_core.hardware.inventory import open_tree, take
from codecs_core.hardware.tree import Unknown
from codecs_core.registry import default_registry

if TYPE_CHECKING:
    from codecs_core.accelerator import Accelerator
    from codecs_core.hardware import Inventory

__all__ = ["command", "print_obstacles", "root_option"]

_COLOURS = {"usable": "green", "not usable": "yellow"}

root_option = click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=Path("/"),
    help="Look at the host below this directory, or in a captured archive.  [default: this host]",
)


@click.command("devices")
@root_option
@click.option(
    "--capture",
    "archive",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.tar",
    help="Pack what is read here, and nothing else, into a new archive for --root elsewhere.",
)
@json_option
def command(root: Path, archive: Path | None, as_json: bool) -> None:
    """List the accelerators of a host, and why one cannot be used.

    Shown are QuickAssist (QAT) and In-Memory Analytics (IAA) devices with their drivers, states,
    services, virtual functions and work queues; the IOMMU and shared virtual memory; the
    libraries; and the limits that matter. Nothing is changed, and nobody needs to be root: what
    could not be read is listed with the reason.

    A device is usable where all is in order from the kernel's driver to the node that this user
    opens. Where it is not, the obstacles are shown, with the commands that clear them.

    A capture holds no serial numbers, no addresses but those on the PCI bus, no names of users
    or hosts. 'multifd devices --root FILE.tar' reads it.
    """
    tree = open_tree(root)
    found = take(tree)
    if archive is not None:
        with archive.open("xb") as file:
            capture.write(tree.seen, file)
    devices = (*accelerators(found), *default_registry().accelerators(root))
    if as_json:
        print_json({"host": found.as_dict(), "accelerators": [each.as_dict() for each in devices]})
        return
    _print_host(found)
    _print_qat(found)
    _print_iaa(found)
    if devices:
        click.echo()
        print_table(
            ("ACCELERATOR", "DEVICE", "FOR CODEC", "VERDICT"),
            (
                (each.kind, each.device, each.codec, "usable" if each.usable else "not usable")
                for each in devices
            ),
            styles=_COLOURS,
        )
        print_obstacles(devices)
    else:
        click.echo("\nno accelerator that a codec could use")
    for unknown in found.unread:
        click.echo(f"\nunknown: {printable(unknown.path)} {printable(unknown.reason)}")
    if archive is not None:
        click.echo(f"\nwritten: {archive}")


def print_obstacles(devices: tuple[Accelerator, ...]) -> None:
    """Print each obstacle once, with the devices that it concerns and its remedy."""
    concerned: dict[tuple[str, str], list[str]] = {}
    for device in devices:
        for each in device.obstacles:
            concerned.setdefault((each.evidence, each.remedy), []).append(device.device)
    for (evidence, remedy), names in concerned.items():
        click.echo(f"\n{', '.join(names)}: {printable(evidence)}")
        if remedy:
            click.echo("  remedy:")
        for line in remedy.splitlines():
            click.echo(f"    {printable(line)}")


def _print_host(found: Inventory) -> None:
    cpu, iommu, service = found.cpu, found.iommu, found.qat_service
    places = f"{cpu.count} CPUs in {cpu.sockets} socket{'s' if cpu.sockets != 1 else ''}"
    flags = [name for name, has in (("enqcmd", cpu.enqcmd), ("virtual", cpu.virtual)) if has]
    rows = [
        ("CPU", ", ".join((cpu.model or "unknown", places, *flags))),
        ("kernel", f"Linux {_shown(found.kernel)}"),
        ("modules", ", ".join(found.modules) or "none of those that matter"),
        ("IOMMU", _iommu(found)),
        ("options", " ".join(iommu.options) if isinstance(iommu.options, tuple) else "unknown"),
        ("qat service", ", ".join(
            name if has else f"not {name}"
            for name, has in (
                ("installed", service.installed),
                ("enabled", service.enabled),
                ("running", service.running),
            )
        )),
        *(
            (each.name, f"{each.version or 'version unknown'}, {each.path}" if each.path else "-")
            for each in found.libraries
        ),
        *(
            (f"{size(each.size)} pages", f"{_shown(each.free)} of {_shown(each.total)} free")
            for each in found.huge_pages
        ),
        ("memlock", _memlock(found)),
    ]  # fmt: skip
    print_table(("HOST", ""), [(name, value or "-") for name, value in rows])


def _iommu(found: Inventory) -> str:
    iommu = found.iommu
    if not iommu.units:
        return "off"
    on = f"on, {len(iommu.units)} unit{'s' if len(iommu.units) != 1 else ''}"
    if iommu.scalable_mode is None:
        return on
    return f"{on}, {'capable' if iommu.scalable_mode else 'not capable'} of scalable mode"


def _memlock(found: Inventory) -> str:
    limit = found.locked_memory
    if isinstance(limit, Unknown):
        return "unknown"
    return "no limit" if limit is None else size(limit)


def _print_qat(found: Inventory) -> None:
    if not found.qat:
        return
    click.echo()
    print_table(
        ("QAT", "MODEL", "KIND", "NUMA", "DRIVER", "STATE", "SERVICES", "VFS", "VFIO GROUP"),
        (
            (
                each.address,
                f"{each.model.name}, gen {each.model.generation}",
                "VF" if each.virtual else "PF",
                _shown(each.numa_node),
                _shown(each.driver),
                _shown(each.state),
                ";".join(each.services)
                if isinstance(each.services, tuple)
                else _shown(each.services),
                f"{_shown(each.vfs)} of {_shown(each.total_vfs)}" if not each.virtual else "-",
                _group(each.group, each.node_usable) if each.virtual else "-",
            )
            for each in found.qat
        ),
    )


def _group(group: object, usable: object) -> str:
    return _shown(group) + (f", {_node(usable)}" if isinstance(group, str) else "")


def _node(usable: object) -> str:
    """Whether the node that user space opens can be opened."""
    match usable:
        case True:
            return "usable"
        case False:
            return "not ours"
        case None:
            return "no node"
        case _:
            return "unknown"


def _print_iaa(found: Inventory) -> None:
    if not found.iaa:
        return
    click.echo()
    print_table(
        ("IAA", "NAME", "NUMA", "DRIVER", "STATE", "PASID", "QUEUES"),
        (
            (
                each.address,
                each.name or "-",
                _shown(each.numa_node),
                _shown(each.driver),
                _shown(each.state),
                _shown(each.pasid),
                f"{len(each.queues)} of {_shown(each.max_queues)}",
            )
            for each in found.iaa
        ),
    )
    queues = [queue for device in found.iaa for queue in device.queues]
    if not queues:
        return
    click.echo()
    print_table(
        ("QUEUE", "STATE", "MODE", "TYPE", "SIZE", "BLOCK ON FAULT", "NODE"),
        (
            (
                each.name,
                _shown(each.state),
                _shown(each.mode),
                _shown(each.type),
                _shown(each.size),
                _shown(each.block_on_fault),
                _node(each.node_usable),
            )
            for each in queues
        ),
    )


def _shown(value: object) -> str:
    match value:
        case None:
            return "-"
        case Unknown():
            return "unknown"
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value)
