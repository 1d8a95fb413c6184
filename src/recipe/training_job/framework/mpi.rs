//! MPI without an operator: the first worker runs `mpirun` over ssh, the others run sshd until the Job ends with the first.
//! Hosts, slots and ssh's settings are files; the keys are a Secret that somebody makes once, for a key in a spec would be
//! no secret. The image has OpenMPI, sshd and ssh, as those of the Kubeflow MPI operator have.

use std::collections::BTreeMap;

use super::{Framework, Group, Launch};
use crate::policy::Mistake;
use crate::recipe::fields::Worker;
use crate::recipe::pod::Variable;

pub(super) const MPI: Framework = Framework {
    name: "mpi",
    about: "OpenMPI over ssh; the command runs in the first worker",
    image: "mpioperator/tensorflow-benchmarks:v0.6.0",
    command: &["mpirun", "python", "train.py"],
    elastic: false,
    ports: &[("ssh", PORT)],
    own: &["OMPI_MCA_orte_default_hostfile", "OMPI_MCA_plm_rsh_args"],
    environment,
    check,
    launch: Some(Launch {
        command: &["/bin/sh", "/etc/mpi/start.sh"],
        folder: "/etc/mpi",
        files,
        secret: |name| format!("{name}-ssh"),
        secret_folder: "/etc/mpi-ssh",
        note: |name| {
            format!(
                "mpi needs the Secret {name}-ssh: ssh-keygen -q -t ed25519 -N '' -f id && kubectl create secret generic {name}-ssh \
                 --from-file=id --from-file=id.pub"
            )
        },
    }),
};

fn environment(group: &Group) -> Vec<Variable> {
    vec![
        group.rank("RANK"),
        Variable::text("WORLD_SIZE", &group.workers),
        Variable::text("OMPI_MCA_orte_default_hostfile", "/etc/mpi/hostfile"),
        Variable::text("OMPI_MCA_orte_keep_fqdn_hostnames", "true"),
        Variable::text("OMPI_MCA_plm_rsh_args", "-F /etc/mpi/ssh_config"),
    ]
}

fn check(worker: &Worker) -> Result<(), Mistake> {
    if worker.command.is_empty() {
        return Err(Mistake::new("command", "is missing", "write what the first worker runs: command: [mpirun, python, train.py]"));
    }
    Ok(())
}

fn files(group: &Group) -> BTreeMap<String, String> {
    let slots = group.devices.max(1);
    let hosts: Vec<String> = group.hosts(None).iter().map(|host| format!("{host} slots={slots}")).collect();
    let hostfile = hosts.join("\n") + "\n";
    let files = [
        ("hostfile", hostfile),
        ("ssh_config", SSH_CONFIG.to_owned()),
        ("sshd_config", SSHD_CONFIG.to_owned()),
        ("start.sh", START.to_owned()),
    ];
    files.map(|(name, text)| (name.to_owned(), text)).into()
}

/// The user's command comes as arguments, and is never read as shell.
const START: &str = r#"set -eu
umask 077
mkdir -p "$HOME/.ssh"
cp /etc/mpi-ssh/id "$HOME/.ssh/id"
cp /etc/mpi-ssh/id.pub "$HOME/.ssh/authorized_keys"
if [ "$RANK" = 0 ]; then
  exec "$@"
fi
ssh-keygen -q -t ed25519 -N '' -f "$HOME/.ssh/host"
exec /usr/sbin/sshd -D -e -f /etc/mpi/sshd_config
"#;
const SSH_CONFIG: &str = "\
Port 2222
IdentityFile /tmp/.ssh/id
StrictHostKeyChecking no
UserKnownHostsFile /dev/null
ConnectionAttempts 120
LogLevel ERROR
";
const SSHD_CONFIG: &str = "\
Port 2222
HostKey /tmp/.ssh/host
AuthorizedKeysFile /tmp/.ssh/authorized_keys
PasswordAuthentication no
StrictModes no
PidFile none
UsePAM no
";
const PORT: u16 = 2222;
