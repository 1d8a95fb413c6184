//! Gangs through admission, a stock kube-scheduler and Gangplank, onto nodes: whole or not at all. KWOK plays the kubelets.

mod company;
mod elastic;
mod friends;
mod preemption;
mod quarantine;
mod recipes;
mod repair;
mod rounds;
mod scenarios;
mod scene;
mod seeds;
mod trouble;
mod undo;
mod volumes;
mod witness;
