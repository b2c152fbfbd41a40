# SPDX-License-Identifier: GPL-2.0-or-later
"""Errors for a person: a D-Bus error becomes an exit code and a sentence that says what to do."""

from __future__ import annotations

from schedclient.exit import ExitCode
from schedclient.names import ERROR_PREFIX

START_IT = "start it with: sudo systemctl start schedcpd"
SEE_VERIFIER = "the reason is in: journalctl -u 'schedcp-verify@*'"
KERNELS = (
    "Debian has it in the kernels of trixie-backports, 6.16 and newer except 7.1 "
    "(sudo apt install -t trixie-backports linux-image-amd64); "
    "no kernel of Debian 12, and not the 6.12 of Debian 13 itself"
)

_FREEDESKTOP = "org.freedesktop.DBus.Error."

_CODES = {
    "NotAuthorized": ExitCode.NOT_AUTHORISED,
    "NoSchedExt": ExitCode.NO_SCHED_EXT,
    "ForeignScheduler": ExitCode.FOREIGN_SCHEDULER,
    "ForeignPolicy": ExitCode.REFUSED,
    "DigestRefused": ExitCode.REFUSED,
    "ProgramFailed": ExitCode.REFUSED,
    "TokenRefused": ExitCode.REFUSED,
    "LimitsSet": ExitCode.REFUSED,
    "KernelRejected": ExitCode.REFUSED,
    "Ejected": ExitCode.REFUSED,
    "Quarantined": ExitCode.REFUSED,
    "NotVerified": ExitCode.REFUSED,
    "Held": ExitCode.BUSY,
    "Busy": ExitCode.BUSY,
    "ShuttingDown": ExitCode.NOT_RUNNING,
    "NoSuchWorkload": ExitCode.NOT_FOUND,
    "WorkloadGone": ExitCode.NOT_FOUND,
    "NoSuchPolicy": ExitCode.NOT_FOUND,
    "NoSuchEntry": ExitCode.NOT_FOUND,
    "NoSuchJob": ExitCode.NOT_FOUND,
    "BundleRefused": ExitCode.REFUSED,
    "NotSuited": ExitCode.REFUSED,
    "NoSuchHold": ExitCode.NOT_FOUND,
    "NoSuchRun": ExitCode.NOT_FOUND,
    "NotApplied": ExitCode.NOT_FOUND,
    "NoSuchDeployment": ExitCode.NOT_FOUND,
    "NoClasses": ExitCode.USAGE,
    "BadParameter": ExitCode.USAGE,
    "ProposalRefused": ExitCode.REFUSED,
    "FileRefused": ExitCode.REFUSED,
}

_HINTS = {
    "NotAuthorized": "an administrator can do it with sudo",
    "NoSchedExt": f"{KERNELS}; 'schedctl doctor' checks this machine",
    "TokenRefused": "have it verified again with: sudo systemctl start schedcp-verify",
    "LimitsSet": "'schedctl policies' shows what each policy honours",
    "KernelRejected": "the kernel's own words are in: journalctl -u schedcpd",
    "Ejected": "the kernel's own words are in: journalctl -u schedcpd",
    "BadParameter": "'schedctl policies POLICY' shows what can be set",
    "ProposalRefused": "'schedctl why WORKLOAD' shows what was decided",
    "LoaderLost": "the reason is in: journalctl -u schedcpd",
    "Quarantined": "'schedctl quarantine' has the details",
    "NotVerified": "'schedctl verify' shows what was found",
    "Held": "'schedctl status' shows by whom",
    "VerifierLost": f"{SEE_VERIFIER}; 'schedctl doctor' checks this machine",
    "LedgerDamaged": "nothing is attached without the ledger; is the disk full? see: "
    "journalctl -u schedcpd",
    "RepositoryDamaged": "is the disk full? see: journalctl -u schedcpd",
    "Busy": "try again in a moment; 'schedctl status' shows what is attached",
    "Internal": "see: journalctl -u schedcpd",
}


class ClientError(Exception):
    """What schedctl cannot do: one sentence for a person, and the exit code."""

    def __init__(self, sentence: str, code: ExitCode = ExitCode.ERROR) -> None:
        self.sentence = sentence
        self.code = code
        super().__init__(sentence)


class ObjectGoneError(ClientError):
    """The object asked for is not on the bus, or not any more."""


def not_running() -> ClientError:
    """The daemon is not on the bus."""
    return ClientError(f"schedcpd is not running; {START_IT}", ExitCode.NOT_RUNNING)


def from_dbus(name: str, message: str) -> ClientError:
    """What a D-Bus error means to a person."""
    if name.startswith(ERROR_PREFIX):
        kind = name.removeprefix(ERROR_PREFIX)
        hint = _HINTS.get(kind)
        sentence = f"{message}; {hint}" if hint else message
        return ClientError(sentence, _CODES.get(kind, ExitCode.ERROR))
    match name.removeprefix(_FREEDESKTOP):
        case "ServiceUnknown" | "NameHasNoOwner":
            return not_running()
        case "NoReply" | "Disconnected":
            return ClientError(
                "schedcpd ended before it answered; see: journalctl -u schedcpd",
                ExitCode.NOT_RUNNING,
            )
        case "AccessDenied":
            return ClientError(
                f"the bus does not let this user talk to schedcpd ({message}); is "
                "/usr/share/dbus-1/system.d/org.schedcp.Daemon1.conf installed?",
                ExitCode.NOT_AUTHORISED,
            )
        case "InvalidArgs" | "LimitsExceeded":
            return ClientError(message, ExitCode.USAGE)
        case "UnknownObject":
            return ObjectGoneError(f"it has just ended ({message})")
        case "UnknownMethod" | "UnknownInterface" | "UnknownProperty":
            return ClientError(
                f"schedcpd does not know that ({message}); after an upgrade: "
                "sudo systemctl restart schedcpd"
            )
    return ClientError(f"{message} ({name})")
