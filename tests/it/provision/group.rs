//! The environment of four workers, given to a small program that reads it as each framework does: they form one group.
//!
//! The program is this test itself, started once a worker. Worker 0 listens, the others come to it and say who they are.
//! Names of hosts are looked at and not resolved: there is no DNS of a cluster here.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use gangplank::policy::Profile;
use gangplank::recipe;
use gangplank::wire::PodObject;
use gangplank::wire::gang::specs;
use gangplank::wire::manifest::{Expanded, expand, gang_of_workload};
use serde_json::{Value, json};

const WORKERS: u32 = 4;
/// Set for the workers: which framework they are of.
const FRAMEWORK: &str = "GANGPLANK_TEST_FRAMEWORK";
/// Where worker 0 listens.
const PORT: &str = "GANGPLANK_TEST_PORT";

/// Hosts, without their numbers.
const HOSTS: &str = "GANGPLANK_TEST_HOSTS";

/// Who makes the Job gives the hosts their names: JobSet NAME-ROLE-0-INDEX, and Trainer makes a JobSet.
fn hosts(form: Option<&str>) -> &'static str {
    match form {
        None => "bert",
        Some("jobset") => "bert-workers-0",
        Some(_) => "bert-node-0",
    }
}

/// What a worker makes of its environment.
struct Seat {
    rank: u32,
    world: u32,
    first_host: String,
    first_port: u16,
}

#[test]
fn four_workers_of_every_framework_form_one_group() {
    if let Ok(framework) = std::env::var(FRAMEWORK) {
        return work(&framework);
    }
    for (framework, form) in [
        ("pytorch", None),
        ("tensorflow", None),
        ("jax", None),
        ("pytorch", Some("jobset")),
        ("tensorflow", Some("jobset")),
        ("jax", Some("trainjob")),
    ] {
        let job = rendered(framework, form);
        let mut first = start(framework, form, &job, 0, "");
        let mut said = BufReader::new(first.stdout.take().unwrap());
        let port = loop {
            let mut line = String::new();
            assert!(said.read_line(&mut line).unwrap() > 0, "{framework}: worker 0 ended before it listened");
            if let Some((_, port)) = line.trim().split_once("listening on ") {
                break port.to_owned();
            }
        };
        let others: Vec<Child> = (1..WORKERS).map(|index| start(framework, form, &job, index, &port)).collect();
        for mut worker in others {
            assert!(worker.wait().unwrap().success(), "{framework}: a worker does not find its group");
        }
        let mut rest = String::new();
        said.read_to_string(&mut rest).unwrap();
        assert!(first.wait().unwrap().success(), "{framework}: {rest}");
        assert!(rest.contains("a group of 4: 0 1 2 3"), "{framework}: {rest}");
    }
}

#[test]
fn gangplank_knows_the_gang_and_the_ranks_of_every_form() {
    for form in ["jobset", "trainjob"] {
        for (workers, min) in [("4", 4), ("2..4", 2)] {
            let objects = objects(&format!("framework: pytorch, workers: {workers}, topology: {{required: rack}}"), Some(form));
            // Trainer makes the JobSet of the runtime, and calls it as the TrainJob.
            let template = if form == "jobset" { &objects[0] } else { &objects[0]["spec"]["template"] };
            let mut metadata = template["metadata"].clone();
            (metadata["name"], metadata["namespace"]) = ("bert".into(), "ml".into());
            let set = json!({"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "metadata": metadata, "spec": template["spec"]});
            let gangs = specs(&gang_of_workload(&set).unwrap(), None);
            let [gang] = gangs.as_slice() else { panic!("{gangs:?}") };
            assert_eq!((gang.size, gang.min), (WORKERS, min), "{form} {workers}");
            let Ok(Expanded::Pods { pods, .. }) = expand(&set, &|_| Vec::new()) else { panic!("{set}") };
            let classes = Profile::shipped().classes;
            let read = |pod: &Value| serde_json::from_value::<PodObject>(pod.clone()).unwrap().to_model(&classes).unwrap();
            let members: Vec<_> = pods.iter().map(read).collect();
            let ranks: Vec<_> = members.iter().map(|pod| pod.gang.as_ref().unwrap().rank).collect();
            assert_eq!(ranks, [Some(0), Some(1), Some(2), Some(3)], "{form}");
            assert!(members.iter().all(|pod| pod.gang.as_ref().unwrap().id.key == gang.id.key && pod.topology.required.len() == 1));
        }
    }
}

fn objects(body: &str, form: Option<&str>) -> Vec<Value> {
    let text = format!(
        "apiVersion: gangplank.dev/v1alpha1\nkind: TrainingJob\nmetadata: {{name: bert}}\nspec: {{image: 'a/b:1', gpu: 1, {body}}}\n"
    );
    recipe::read(&text).unwrap()[0].render(form).unwrap().objects
}

/// The workers' Job, as the API server has it, or as whoever stands around it makes it.
fn rendered(framework: &str, form: Option<&str>) -> Value {
    let objects = objects(&format!("framework: {framework}, workers: {WORKERS}"), form);
    let first = |set: &Value| set["replicatedJobs"][0]["template"].clone();
    match form {
        Some("jobset") => first(&objects[0]["spec"]),
        Some(_) => first(&objects[0]["spec"]["template"]["spec"]),
        None => {
            let (service, job) = (&objects[0], &objects[1]);
            assert_eq!(
                (&service["kind"], &service["metadata"]["name"]),
                (&Value::from("Service"), &job["spec"]["template"]["spec"]["subdomain"])
            );
            job.clone()
        }
    }
}

/// A worker with the environment that kubelet would give it, and nothing else of ours.
fn start(framework: &str, form: Option<&str>, job: &Value, index: u32, port: &str) -> Child {
    let mut env: BTreeMap<String, String> = BTreeMap::new();
    for entry in job["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap() {
        let mut value = if let Some(text) = entry["value"].as_str() {
            text.to_owned()
        } else {
            let path = &entry["valueFrom"]["fieldRef"]["fieldPath"];
            assert_eq!(path, "metadata.annotations['batch.kubernetes.io/job-completion-index']");
            assert_eq!(job["spec"]["completionMode"], "Indexed", "no other Job has that annotation");
            index.to_string()
        };
        for (name, earlier) in &env {
            value = value.replace(&format!("$({name})"), earlier);
        }
        env.insert(entry["name"].as_str().unwrap().to_owned(), value);
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["provision::group::four_workers_of_every_framework_form_one_group", "--exact", "--nocapture"]);
    command.env_clear().envs(env).env(FRAMEWORK, framework).env(PORT, port).env(HOSTS, hosts(form));
    let stdout = if index == 0 { Stdio::piped() } else { Stdio::null() };
    command.stdin(Stdio::null()).stdout(stdout).spawn().unwrap()
}

fn work(framework: &str) {
    let seat = match framework {
        "pytorch" => env_rendezvous(),
        "tensorflow" => tf_config(),
        _ => jax_coordinator(),
    };
    assert_eq!((seat.first_host.clone(), seat.world), (format!("{}-0.bert", text(HOSTS)), WORKERS));
    assert!(seat.first_port >= 1024 && seat.rank < seat.world, "{} of {}", seat.rank, seat.world);
    if seat.rank > 0 {
        let mut first = TcpStream::connect(("127.0.0.1", number(PORT))).unwrap();
        first.write_all(&seat.rank.to_be_bytes()).unwrap();
        let mut answer = [0];
        first.read_exact(&mut answer).unwrap();
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on {}", listener.local_addr().unwrap().port()).unwrap();
    let (mut ranks, mut members) = (BTreeSet::from([0]), Vec::new());
    while ranks.len() < seat.world as usize {
        let (mut member, _) = listener.accept().unwrap();
        let mut rank = [0; 4];
        member.read_exact(&mut rank).unwrap();
        let rank = u32::from_be_bytes(rank);
        assert!(rank < seat.world && ranks.insert(rank), "rank {rank} twice");
        members.push(member);
    }
    members.iter_mut().for_each(|member| member.write_all(&[1]).unwrap());
    writeln!(stdout, "a group of {}: {}", seat.world, ranks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")).unwrap();
}

/// torch.distributed's `env://`: four variables, all of them needed, three of them numbers.
fn env_rendezvous() -> Seat {
    Seat { rank: number("RANK"), world: number("WORLD_SIZE"), first_host: text("MASTER_ADDR"), first_port: number("MASTER_PORT") }
}

/// TensorFlow's resolver: a cluster of addresses, and the task's own type and index, which is a number.
fn tf_config() -> Seat {
    let config: Value = serde_json::from_str(&text("TF_CONFIG")).unwrap();
    let workers = config["cluster"]["worker"].as_array().unwrap();
    assert_eq!(config["task"]["type"], "worker");
    let rank = u32::try_from(config["task"]["index"].as_u64().unwrap()).unwrap();
    assert!(workers[rank as usize].as_str().unwrap().starts_with(&format!("{}-{rank}.bert:", text(HOSTS))), "{config}");
    let (host, port) = workers[0].as_str().unwrap().split_once(':').unwrap();
    Seat { rank, world: u32::try_from(workers.len()).unwrap(), first_host: host.to_owned(), first_port: port.parse().unwrap() }
}

/// `jax.distributed.initialize`: the coordinator's address, how many processes, and which one.
fn jax_coordinator() -> Seat {
    let address = text("JAX_COORDINATOR_ADDRESS");
    let (host, port) = address.split_once(':').unwrap();
    Seat {
        rank: number("JAX_PROCESS_ID"),
        world: number("JAX_NUM_PROCESSES"),
        first_host: host.to_owned(),
        first_port: port.parse().unwrap(),
    }
}

fn text(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

fn number<T: std::str::FromStr>(name: &str) -> T {
    text(name).parse().unwrap_or_else(|_| panic!("{name} is no number of this kind"))
}
