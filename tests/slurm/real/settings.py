"""The configuration of the test cluster. Every line that is not the default has its reason beside it."""

import socket
from pathlib import Path

NODES = ("sim1", "sim2")
CPUS, MEMORY_MB = 2, 4096


def free_ports(count: int) -> list[int]:
    """TCP ports on which nothing listens now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def on_loopback(host: str) -> bool:
    """Whether the host's own name leads to 127.x, so that the daemons can listen there and nowhere else."""
    try:
        return socket.gethostbyname(host).startswith("127.")
    except OSError:
        return False


def slurm_conf(state: Path, ports: list[int], first_job: int) -> str:
    """ports: of slurmctld, slurmdbd and one per node. first_job: id of the cluster's first job."""
    host = socket.gethostname().partition(".")[0]
    bind = "CommunicationParameters=NoInAddrAny,NoCtldInAddrAny" if on_loopback(host) else ""
    nodes = [
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={CPUS} RealMemory={MEMORY_MB} State=UNKNOWN"
        for name, port in zip(NODES, ports[2:], strict=True)
    ]
    return f"""\
ClusterName=smilebench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
{bind}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# cred_expire is what a requeued job waits before it starts again; below 8 s the step it left may still be there.
AuthInfo=socket={state}/run/munge.socket,cred_expire=8
StateSaveLocation={state}/ctld
SlurmdSpoolDir={state}/spool/%n
SlurmctldPidFile={state}/run/slurmctld.pid
SlurmdPidFile={state}/run/slurmd-%n.pid
SlurmctldLogFile={state}/log/slurmctld.log
SlurmdLogFile={state}/log/slurmd-%n.log
# Ids follow the clock: the folder of an earlier cluster's job is never taken for a new one's.
FirstJobId={first_job}
MaxArraySize=1001
MailProg=/bin/true
MpiDefault=none
SwitchType=switch/none
# Neither cgroups nor CPU binding: works in any container, with as many CPUs as are declared.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
DebugFlags=NO_CONF_HASH
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
# Without it a job that names no memory takes its node whole.
DefMemPerCPU=256
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
# "urgent" takes nodes from "debug": first the signal, then GraceTime, then the requeue.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
ReturnToService=2
SlurmdTimeout=15
InactiveLimit=0
KillWait=5
JobAcctGatherType=jobacct_gather/linux
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={ports[1]}
# The munge socket, where the one of slurmdbd is not the standard one.
AccountingStoragePass={state}/run/munge.socket
{chr(10).join(nodes)}
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=5
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""


def slurmdbd_conf(state: Path, ports: list[int]) -> str:
    """The accounting daemon's, which reaches the database through its socket file."""
    bind = "CommunicationParameters=NoInAddrAny" if on_loopback(socket.gethostname().partition(".")[0]) else ""
    return f"""\
AuthType=auth/munge
AuthInfo=socket={state}/run/munge.socket
{bind}
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={ports[1]}
SlurmUser=root
PidFile={state}/run/slurmdbd.pid
LogFile={state}/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct
"""
