"""``multifd recv``: what a sender sends, as files or as a byte stream."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from codecs_core.cli.completion import complete_file, complete_uri
from codecs_core.cli.monitoring import Monitoring, monitoring_options
from codecs_core.cli.options import CodecCommand, local_parameters, timeout_option
from codecs_core.cli.output import json_option, print_json
from codecs_core.cli.standard import standard_output
from codecs_core.cli.tls import insecure_option, tls_options
from codecs_core.errors import TransferError, UsageError

if TYPE_CHECKING:
    from codecs_core.cli.log import Log
    from codecs_core.memory.block import Block
    from codecs_core.memory.output import OutputFile
    from codecs_core.transport.tls import TlsCredentials

__all__ = ["command"]

STREAM = "-"


@click.command(
    "recv",
    cls=CodecCommand,
    local_only=True,
    epilog="""\
    \b
    Examples:
      multifd recv --tls-creds /etc/pki/qemu tcp:0.0.0.0:4444 /srv/images/
      multifd recv --insecure tcp:0.0.0.0:4444 /srv/images/
      multifd recv unix:/run/link.sock disk.img --force
      multifd recv --insecure tcp::4444 - | tar -x
    """,
)
@click.argument("uri", shell_complete=complete_uri)
@click.argument("dest", shell_complete=complete_file)
@click.option("--force", is_flag=True, help="Replace files that exist.")
@click.option(
    "--resume/--no-resume",
    default=True,
    show_default=True,
    help="Keep what has come of a file, should the transfer fail, and go on with it next time.",
)
@click.option(
    "--sync-on-finish/--no-sync-on-finish",
    default=True,
    show_default=True,
    help="Bring files to stable storage before the sender is told that they have arrived.",
)
@tls_options(listens=True)
@insecure_option
@monitoring_options("receiver")
@timeout_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    uri: str,
    dest: str,
    force: bool,
    resume: bool,
    sync_on_finish: bool,
    tls: TlsCredentials | None,
    insecure: bool,
    monitoring: Monitoring,
    timeout: float,
    as_json: bool,
) -> None:
    """Receive what a sender sends, and verify it.

    URI is where to listen: tcp:HOST:PORT (port 0 takes any free one and says which), unix:PATH,
    fd:N (a listening or a connected socket) or exec:COMMAND. One sender is served. Where other
    hosts can reach the port, it takes --tls-creds, or --insecure.

    DEST is a directory that exists, where files get the names that the sender gives them; or the
    name for the one file that comes; or '-' to write it to standard output. A file appears when
    it is whole, with mode 0600. Should the transfer fail, what has come of a file is kept beside
    its place, hidden, and the next transfer leaves out what of it is the same at the sender. The
    sender chooses the codec and the number of channels.
    """
    from codecs_core.cli.progress import drawn
    from codecs_core.engine.receiver import Receiver

    if as_json and dest == STREAM:
        raise UsageError("--json and DEST '-' both write to standard output; give one of them")
    with ExitStack() as stack:
        stack.enter_context(monitoring)
        target = _Destination(
            dest, stack, monitoring.log, force=force, sync=sync_on_finish, resume=resume
        )
        receiver = stack.enter_context(
            Receiver(
                uri,
                open_block=target.open_block,
                timeout=timeout,
                sync_on_finish=sync_on_finish,
                parameters=local_parameters(ctx),
                tls=tls,
                insecure=insecure,
                on_refusal=monitoring.refused,
            )
        )
        any_port = uri.startswith("tcp:") and uri.endswith(":0")
        monitoring.listening(receiver.address, aside=not any_port)
        with (
            monitoring.session(
                receiver.address, receiver.progress, None if as_json else "received"
            ),
            drawn(receiver.progress, monitoring.log),
        ):
            done = receiver.receive(target.commit)
    if as_json:
        print_json({"files": [str(each.path) for each in target.files], **done.as_dict()})


class _Destination:
    """Makes the blocks that a sender announces, in files that ``stack`` owns."""

    def __init__(
        self,
        dest: str,
        stack: ExitStack,
        log: Log,
        *,
        force: bool,
        sync: bool,
        resume: bool,
    ) -> None:
        self.files: list[OutputFile] = []
        self._dest = dest
        self._log = log
        self._force = force
        self._sync = sync
        self._resume = resume
        self._stack = stack
        self._taken = False
        # Runs when the files have left the stack, and only what is kept of them is still there.
        stack.push(self._tell_kept)
        # What is wrong with the destination is better said before a sender comes.
        if dest == STREAM:
            standard_output()
        elif not os.path.isdir(dest):
            self._output(Path(dest))

    def open_block(self, name: str, size: int | None, page_size: int) -> Block:
        """Make the block for one of the sender's files."""
        from codecs_core.memory.file import FileBlock
        from codecs_core.memory.stream import StreamSink

        if self._dest == STREAM:
            self._take_only(name)
            return StreamSink(name, standard_output().fileno(), size, page_size)
        if os.path.isdir(self._dest):
            path = Path(self._dest, _file_name(name))
        else:
            self._take_only(name)
            path = Path(self._dest)
        resume = self._resume and size is not None
        output = self._stack.enter_context(self._output(path, keep=resume))
        self.files.append(output)
        if size is not None:
            block = FileBlock.create(
                output.partial, size, name, page_size, shown=path, resume=resume
            )
            output.claim()
            return block
        try:
            fd = os.open(output.partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise TransferError(f"{path} cannot be made: {error.strerror}") from error
        self._stack.callback(os.close, fd)
        return StreamSink(name, fd, None, page_size)

    def commit(self) -> None:
        """Give all files their names, or none: an interruption waits, and then undoes it."""
        with _held_back() as interruptions:
            try:
                for each in self.files:
                    each.commit()
                if interruptions:
                    raise KeyboardInterrupt
            except BaseException:
                for each in self.files:
                    each.withdraw()
                raise

    def _tell_kept(self, kind: type[BaseException] | None, *_: object) -> None:
        """Say what a transfer that has failed leaves here."""
        for each in self.files:
            if each.partial.exists():
                self._log.tell(
                    "partial_kept",
                    f"kept what has come of {each.path} as {each.partial}; the same commands, run "
                    "again, go on from there",
                    file=str(each.path),
                    partial=str(each.partial),
                )
            elif each.named and kind is not None:
                self._log.tell(
                    "whole_kept",
                    f"kept {each.path}, which is whole; the sender may not have been told",
                    file=str(each.path),
                )

    def _output(self, path: Path, *, keep: bool = False) -> OutputFile:
        from codecs_core.memory.output import OutputFile

        return OutputFile(path, force=self._force, sync=self._sync, keep=keep)

    def _take_only(self, name: str) -> None:
        if self._taken:
            what = "standard output" if self._dest == STREAM else self._dest
            raise UsageError(
                f"several files come, {name!r} among them, but {what} takes one; "
                "remedy: receive into a directory that exists"
            )
        self._taken = True


def _file_name(name: str) -> str:
    """Return the sender's name for a file where it is one, and no way out of the directory."""
    if "/" in name or "\0" in name or name in ("", ".", ".."):
        raise TransferError(f"{name!r} is no name for a file")
    if len(name.encode()) > 255:
        raise TransferError(f"{name!r} is too long for a file's name")
    return name


@contextmanager
def _held_back() -> Iterator[list[int]]:
    """Hold Ctrl-C and SIGTERM back while the body runs, which is given those that have come.

    Raises `KeyboardInterrupt` behind the body where one has. What is ignored stays ignored.
    """
    came: list[int] = []
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    before = {each: handler for each, handler in before.items() if callable(handler)}
    try:
        for each in before:
            signal.signal(each, lambda number, _: came.append(number))
        yield came
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    if came:
        raise KeyboardInterrupt
