"""The entry point: commands under their names, and errors turned into exit statuses.

0 done; 1 a negative answer (residue, a bad certificate); 2 usage; 3 unknown reference; 4 refused (fence, hold, brake);
5 not reachable. 130 and 143 tell that a signal ended it, 141 that nobody read on.

Rule: an error is one line that says what to do next, and repeats nothing that a person or a record said. With
SEALDESK_DEBUG=1 an unexpected error shows its whole trace, which may quote personal data: for machines of developers.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import psycopg
import typer
from psycopg_pool import PoolTimeout
from typer.exceptions import TyperException

from domain.errors import OperatorCanAct, SealdeskError
from services.cli import (
    analysing,
    attaching,
    describing,
    doctoring,
    drilling,
    epochs,
    generating,
    holding,
    importing,
    keys,
    looking,
    migrating,
    options,
    purging,
    quarantining,
    querying,
    recipients,
    rights,
    running,
    shredding,
    streaming,
    tenants,
    topics,
)
from services.cli.printing import tell
from services.hardening import harden

_USAGE = 2
_INTERRUPTED = 130
_NOBODY_READS = 141
#: What an option looks like. Anything else that was typed is not repeated: it may be an address.
_OPTION = re.compile(r"--?[a-z][a-z-]{0,30}")

app = typer.Typer(
    name="sealdesk",
    add_completion=False,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    suggest_commands=False,
)


@app.callback(invoke_without_command=True)
def sealdesk(context: typer.Context, data: options.Data = None) -> None:
    """Keep what happens in a helpdesk, seal whose it is, and forget a person by destroying one key.

    Every command works on a data folder, --data DIR or SEALDESK_DATA, and starts the servers that it needs.

    Exit status: 0 done, 1 a negative answer, 2 usage, 3 unknown reference, 4 refused, 5 not reachable.

    A first look:

        sealdesk import examples/desk.jsonl --data ./desk

        sealdesk query tickets --data ./desk

    SEALDESK_DEBUG=1 shows the whole trace of an unexpected error, which may quote personal data.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(_USAGE)


app.command("import")(importing.import_file)
app.command("publish")(streaming.publish)
app.command("consume")(streaming.consume_topics)
app.add_typer(tenants.commands, name="tenant")
app.add_typer(querying.commands, name="query")
app.add_typer(shredding.commands, name="shred")
app.add_typer(purging.commands, name="purge")
app.add_typer(attaching.commands, name="blob")
app.add_typer(holding.commands, name="hold")
app.add_typer(quarantining.commands, name="quarantine")
app.add_typer(topics.commands, name="topics")
app.add_typer(recipients.commands, name="recipients")
epochs.register(keys.commands)
app.add_typer(keys.commands, name="keys")
app.command("find")(looking.find)
app.command("verify")(looking.verify)
app.add_typer(looking.certificate_commands, name="certificate")
app.add_typer(analysing.commands, name="analysts")
app.command("generate")(generating.generate)
app.command("check")(describing.check)
app.command("events")(describing.events)
app.command("datamap")(describing.datamap)
app.command("ropa")(describing.ropa)
app.command("notice")(describing.notice)
app.command("agreement")(describing.agreement)
app.add_typer(drilling.commands, name="drill")
app.command("migrate")(migrating.migrate)
app.add_typer(rights.commands, name="rights")
app.command("doctor")(doctoring.doctor)
app.command("rebuild")(running.rebuild)
app.command("status")(running.status)
app.command("project")(running.project)
app.command("keep")(running.keep)
app.command("up")(running.up)


def main() -> None:
    """Run the command line of this process, and end the process."""
    harden()
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line, and return its exit status."""
    try:
        command = typer.main.get_command(app)
        with command.make_context("sealdesk", list(arguments)) as context:
            command.invoke(context)
        sys.stdout.flush()
        return 0
    except typer.Exit as ended:
        return ended.exit_code
    except typer.Abort:
        tell("nothing was changed")
        return 1
    except TyperException as error:
        tell(_without_values(error))
        return _USAGE
    except SealdeskError as error:
        tell(str(error))
        return error.exit_status
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The interpreter would complain once more when it flushes the stream at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _NOBODY_READS
    except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout):
        _trace()
        tell("a database cannot be reached, or went away; check SEALDESK_LOG_DSN and SEALDESK_KEYS_DSN, then try again")
        return OperatorCanAct.exit_status
    except Exception as error:
        _trace()
        tell(f"something went wrong that should not have ({type(error).__name__}); SEALDESK_DEBUG=1 says where")
        return 1


def _trace() -> None:
    if os.environ.get("SEALDESK_DEBUG") == "1":
        traceback.print_exc()


def _without_values(error: TyperException) -> str:
    """Say what is wrong with a command line, and repeat none of the values in it."""
    context: Any = getattr(error, "ctx", None)
    parameter: Any = getattr(error, "param", None)
    name = getattr(error, "option_name", None)
    asked = f"see: {context.command_path if context is not None else 'sealdesk'} --help"
    if parameter is not None:
        hint = getattr(parameter, "metavar", None) if not parameter.opts[0].startswith("-") else parameter.opts[0]
        wrong = "is missing" if type(error).__name__ == "MissingParameter" else "cannot be what was given"
        return f"{hint or parameter.opts[0]} {wrong}; {asked}"
    if name is not None:
        what = f"the option {name}" if _OPTION.fullmatch(str(name)) else "an option"
        return f"{what} is unknown, or lacks its value; {asked}"
    # What click quotes, it quotes behind one of these.
    said = re.split(r"['\"(:]", error.format_message())[0].strip().rstrip(".")
    return f"{said}; {asked}"
