package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	pollInterval = 25 * time.Millisecond
	stopGrace    = 3 * time.Second
)

//go:embed kwok.yaml
var kwokConfig []byte

// cluster is a control plane in the course of running.
type cluster struct {
	options    *options
	layout     layout
	ports      ports
	components map[string]component
	processes  map[string]*process
	health     *http.Client
	client     kubernetes.Interface
	say        func(format string, arguments ...any)
}

// startCluster brings a control plane up, with other ports if somebody took one meanwhile.
func startCluster(ctx context.Context, o *options, say func(string, ...any)) (*cluster, error) {
	const attempts = 4
	for attempt := 1; ; attempt++ {
		c := &cluster{options: o, layout: layout{dir: o.dir}, processes: map[string]*process{}, say: say}
		err := c.start(ctx)
		if err == nil {
			return c, nil
		}
		c.stop()
		if attempt == attempts || !portWasTaken(err) {
			return nil, err
		}
		say("a port was taken meanwhile, once more with others")
	}
}

func (c *cluster) server() string { return "https://" + loopback(c.ports.apiServer) }

func (c *cluster) start(ctx context.Context) error {
	if err := c.prepareFolder(); err != nil {
		return err
	}
	began := time.Now()
	for _, name := range []string{etcdName, apiServerName} {
		if err := c.startComponent(name); err != nil {
			return err
		}
	}
	if err := c.waitHealthy(ctx, etcdName, apiServerName); err != nil {
		return err
	}
	c.say("etcd and the API server answer after %.1f s", time.Since(began).Seconds())
	var rest []string
	for _, name := range componentNames {
		if _, wanted := c.components[name]; wanted && c.processes[name] == nil {
			if err := c.startComponent(name); err != nil {
				return err
			}
			rest = append(rest, name)
		}
	}
	creating := time.Now()
	if err := createNodes(ctx, c.client, c.options.nodes); err != nil {
		return err
	}
	if count := c.options.nodes.count; count > 0 {
		c.say("%d nodes created in %.1f s", count, time.Since(creating).Seconds())
	}
	if err := c.waitHealthy(ctx, rest...); err != nil {
		return err
	}
	if err := c.waitUsable(ctx); err != nil {
		return err
	}
	c.say("ready after %.1f s", time.Since(began).Seconds())
	return nil
}

// prepareFolder makes the folder anew: a control plane starts empty.
func (c *cluster) prepareFolder() error {
	if err := os.RemoveAll(c.layout.path("etcd")); err != nil {
		return err
	}
	for _, folder := range []string{"", "pki", "users", "logs", "kwok"} {
		if err := os.MkdirAll(c.layout.path(folder), 0o755); err != nil {
			return err
		}
	}
	for _, name := range componentNames {
		if err := os.RemoveAll(c.layout.log(name)); err != nil {
			return err
		}
	}
	var err error
	if c.ports, err = choosePorts(); err != nil {
		return err
	}
	if err := writePKI(c.layout); err != nil {
		return err
	}
	if err := writeUsers(c.layout, c.server()); err != nil {
		return err
	}
	if err := os.WriteFile(c.layout.path("kwok.yaml"), kwokConfig, 0o644); err != nil {
		return err
	}
	if c.options.schedulerConfig != "" {
		if err := completeSchedulerConfig(c.layout, c.options.schedulerConfig, c.layout.path("scheduler.yaml")); err != nil {
			return err
		}
	}
	c.components = c.options.components(c.ports)
	return c.makeClients()
}

func (c *cluster) makeClients() error {
	config, err := clientcmd.BuildConfigFromFlags("", c.layout.kubeconfig())
	if err != nil {
		return err
	}
	config.QPS = -1
	config.ContentType = "application/vnd.kubernetes.protobuf"
	if c.client, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	certificate, err := os.ReadFile(c.layout.caCertificate())
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)
	c.health = &http.Client{
		Timeout:   2 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}},
	}
	return nil
}

func (c *cluster) startComponent(name string) error {
	component, known := c.components[name]
	if !known {
		return fmt.Errorf("no component %q here", name)
	}
	child, err := startProcess(name, component.argv, component.environment, c.layout.log(name))
	if err != nil {
		return err
	}
	c.processes[name] = child
	return nil
}

// waitHealthy waits until each named component says that it is.
func (c *cluster) waitHealthy(ctx context.Context, names ...string) error {
	for _, name := range names {
		err := c.waitFor(ctx, name+" to be healthy", func() bool { return c.healthy(ctx, name) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) healthy(ctx context.Context, name string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.components[name].healthURL, nil)
	if err != nil {
		return false
	}
	response, err := c.health.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// waitUsable waits for what the controllers bring about after they are healthy: the default service
// account, without which no pod is admitted, and nodes rid of their first taint.
func (c *cluster) waitUsable(ctx context.Context) error {
	if c.processes[controllerManagerName] == nil {
		return nil
	}
	err := c.waitFor(ctx, "the default service account", func() bool {
		_, err := c.client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			c.say("asking for the default service account: %v", err)
		}
		return err == nil
	})
	if err != nil || c.options.nodes.count == 0 {
		return err
	}
	return c.waitFor(ctx, fmt.Sprintf("%d nodes to be schedulable", c.options.nodes.count), func() bool {
		schedulable, err := nodesAreSchedulable(ctx, c.client, c.options.nodes.count)
		return err == nil && schedulable
	})
}

// waitFor polls until the condition holds, a component ends, or the context does.
func (c *cluster) waitFor(ctx context.Context, what string, holds func() bool) error {
	for {
		for _, name := range componentNames {
			if child := c.processes[name]; child != nil && !child.running() {
				return child.diedEarly()
			}
		}
		asked := time.Now()
		if holds() {
			return nil
		}
		// A question that takes long, such as one about 5,000 nodes, must not keep the API server busy.
		pause := max(pollInterval, 3*time.Since(asked))
		select {
		case <-ctx.Done():
			cause := context.Cause(ctx)
			if errors.Is(cause, context.DeadlineExceeded) {
				return fmt.Errorf("gave up waiting for %s after %v\n%s", what, c.options.startTimeout, c.logTails())
			}
			return fmt.Errorf("waiting for %s: %w", what, cause)
		case <-time.After(pause):
		}
	}
}

func (c *cluster) logTails() string {
	text := ""
	for _, name := range componentNames {
		if c.processes[name] != nil {
			text += fmt.Sprintf("--- the end of %s's log:\n%s\n", name, tail(c.layout.log(name), 8))
		}
	}
	return text
}

// stop ends every child in the reverse order of the start, so that each still finds what it needs
// to end in peace.
func (c *cluster) stop() {
	for index := len(componentNames) - 1; index >= 0; index-- {
		if child := c.processes[componentNames[index]]; child != nil && componentNames[index] != etcdName {
			// The API server waits for its watches to end; nothing is lost by not waiting for it.
			go child.stop(stopGrace)
		}
	}
	for index := len(componentNames) - 1; index >= 0; index-- {
		if child := c.processes[componentNames[index]]; child != nil {
			child.stop(stopGrace)
		}
	}
}

// discard stops everything and removes the database, by far the largest part of the folder.
func (c *cluster) discard() {
	c.stop()
	_ = os.RemoveAll(c.layout.path("etcd"))
}
