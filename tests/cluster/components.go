package main

import (
	"fmt"
	"math/rand/v2"
	"net"
)

const (
	etcdName              = "etcd"
	apiServerName         = "kube-apiserver"
	controllerManagerName = "kube-controller-manager"
	schedulerName         = "kube-scheduler"
	kwokName              = "kwok"
)

// componentNames lists the components in the order of their start; they are stopped in reverse.
var componentNames = []string{etcdName, apiServerName, controllerManagerName, schedulerName, kwokName}

// ports are one attempt's loopback ports.
type ports struct{ etcd, etcdPeer, apiServer, controllerManager, scheduler, kwok int }

func choosePorts() (ports, error) {
	var chosen ports
	taken := map[int]bool{}
	for _, port := range []*int{
		&chosen.etcd, &chosen.etcdPeer, &chosen.apiServer, &chosen.controllerManager, &chosen.scheduler, &chosen.kwok,
	} {
		var err error
		if *port, err = freePort(taken); err != nil {
			return ports{}, err
		}
		taken[*port] = true
	}
	return chosen, nil
}

// freePort finds a port that nobody listens on, below Linux's range for outgoing connections, whose
// local ends would otherwise take it between the choice and the use.
func freePort(taken map[int]bool) (int, error) {
	const lowest, highest, attempts = 12000, 31999, 200
	for range attempts {
		port := lowest + rand.IntN(highest-lowest+1)
		if taken[port] {
			continue
		}
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		_ = listener.Close()
		return port, nil
	}
	return 0, fmt.Errorf("no free port found between %d and %d in %d attempts", lowest, highest, attempts)
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// component says how one part of the control plane is started and how its health is asked for.
type component struct {
	name string
	// argv[0] is an absolute path, for a restart may come after a change of folder.
	argv        []string
	environment []string
	healthURL   string
}

func (o *options) components(ports ports) map[string]component {
	l := layout{dir: o.dir}
	binary := o.binary
	serving := []string{
		"--bind-address=127.0.0.1",
		"--tls-cert-file=" + l.servingCertificate(),
		"--tls-private-key-file=" + l.servingKey(),
	}
	argv := func(parts ...[]string) []string {
		var joined []string
		for _, part := range parts {
			joined = append(joined, part...)
		}
		return joined
	}
	etcdURL, peerURL := "http://"+loopback(ports.etcd), "http://"+loopback(ports.etcdPeer)
	scheduler := []string{
		"--leader-elect=false",
		fmt.Sprintf("--secure-port=%d", ports.scheduler),
	}
	if o.schedulerConfig != "" {
		scheduler = append(scheduler, "--config="+l.path("scheduler.yaml"))
	} else {
		scheduler = append(scheduler,
			"--kubeconfig="+l.userKubeconfig(schedulerName),
			fmt.Sprintf("--kube-api-qps=%d", schedulerQPS),
			fmt.Sprintf("--kube-api-burst=%d", schedulerQPS))
	}
	// Without leases KWOK writes nothing for an idle node, and the controller must not take that
	// silence for death.
	nodeGrace := "24h"
	if o.nodeLeaseSeconds > 0 {
		nodeGrace = fmt.Sprintf("%ds", o.nodeLeaseSeconds+10)
	}
	// Real nodes register before they are ready, so admission taints each new node, and the controller
	// takes the taint off, about 100 a second on 2 cores. KWOK's nodes are ready from the first.
	var admission []string
	if !o.taintNewNodes {
		admission = []string{"--disable-admission-plugins=TaintNodesByCondition"}
	}
	all := map[string]component{
		etcdName: {
			argv: []string{
				binary, "etcd",
				"--name=testcluster",
				"--data-dir=" + l.path("etcd"),
				"--listen-client-urls=" + etcdURL,
				"--advertise-client-urls=" + etcdURL,
				"--listen-peer-urls=" + peerURL,
				"--initial-advertise-peer-urls=" + peerURL,
				"--initial-cluster=testcluster=" + peerURL,
				// The data lives as long as the test does.
				"--unsafe-no-fsync",
				"--quota-backend-bytes=4294967296",
				"--log-level=warn",
			},
			healthURL: etcdURL + "/health",
		},
		apiServerName: {
			argv: argv([]string{
				binary, "kube-apiserver",
				"--etcd-servers=" + etcdURL,
				fmt.Sprintf("--secure-port=%d", ports.apiServer),
				"--token-auth-file=" + l.tokens(),
				"--client-ca-file=" + l.caCertificate(),
				"--authorization-mode=RBAC",
				"--service-account-issuer=https://kubernetes.default.svc",
				"--service-account-key-file=" + l.serviceAccountPublic(),
				"--service-account-signing-key-file=" + l.serviceAccountKey(),
				"--service-cluster-ip-range=10.96.0.0/16",
				"--allow-privileged=true",
				// An endpoint on loopback is not valid, and nothing here asks for the kubernetes service.
				"--endpoint-reconciler-type=none",
			}, admission, serving),
			healthURL: "https://" + loopback(ports.apiServer) + "/readyz",
		},
		controllerManagerName: {
			argv: argv([]string{
				binary, "kube-controller-manager",
				"--kubeconfig=" + l.userKubeconfig(controllerManagerName),
				"--use-service-account-credentials=true",
				"--leader-elect=false",
				fmt.Sprintf("--secure-port=%d", ports.controllerManager),
				"--kube-api-qps=2000",
				"--kube-api-burst=4000",
				"--service-account-private-key-file=" + l.serviceAccountKey(),
				"--root-ca-file=" + l.caCertificate(),
				"--cluster-signing-cert-file=" + l.caCertificate(),
				"--cluster-signing-key-file=" + l.caKey(),
				"--node-monitor-grace-period=" + nodeGrace,
				"--pvclaimbinder-sync-period=5s",
			}, serving),
			healthURL: "https://" + loopback(ports.controllerManager) + "/healthz",
		},
		schedulerName: {
			argv:      argv([]string{binary, "kube-scheduler"}, scheduler, serving),
			healthURL: "https://" + loopback(ports.scheduler) + "/readyz",
		},
		kwokName: {
			argv: []string{
				o.kwok,
				"--kubeconfig=" + l.userKubeconfig(kwokName),
				"--config=" + l.path("kwok.yaml"),
				"--manage-all-nodes",
				"--node-ip=10.0.0.1",
				fmt.Sprintf("--node-lease-duration-seconds=%d", o.nodeLeaseSeconds),
				"--server-address=" + loopback(ports.kwok),
			},
			// Nothing of a developer's own KWOK setting may leak in.
			environment: []string{"KWOK_WORKDIR=" + l.path("kwok")},
			healthURL:   "http://" + loopback(ports.kwok) + "/healthz",
		},
	}
	chosen := map[string]component{}
	for name, each := range all {
		if o.without[name] {
			continue
		}
		each.name = name
		each.argv = append(each.argv, o.extraFlags[name]...)
		chosen[name] = each
	}
	return chosen
}
