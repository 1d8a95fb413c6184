package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are what `up` was asked for.
type options struct {
	dir              string
	binary           string
	kwok             string
	schedulerConfig  string
	without          map[string]bool
	extraFlags       map[string][]string
	nodes            nodePlan
	nodeLeaseSeconds int
	taintNewNodes    bool
	startTimeout     time.Duration
	untilStdinCloses bool
}

func parseOptions(args []string) (*options, error) {
	o := &options{without: map[string]bool{}, extraFlags: map[string][]string{}}
	flags := flag.NewFlagSet("up", flag.ContinueOnError)
	flags.StringVar(&o.dir, "dir", "", "folder for kubeconfigs, logs and data (required; one control plane each)")
	flags.StringVar(&o.kwok, "kwok", "", "the kwok binary (default: beside this one)")
	flags.StringVar(&o.schedulerConfig, "scheduler-config", "",
		"a KubeSchedulerConfiguration for the kube-scheduler; kubeconfig, qps and leader election are filled in")
	flags.IntVar(&o.nodes.count, "nodes", 0, "create so many KWOK nodes")
	flags.IntVar(&o.nodes.gpusPerNode, "gpus-per-node", 8, "GPUs of each created node")
	flags.StringVar(&o.nodes.product, "product", "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.product of each created node")
	flags.IntVar(&o.nodes.memoryMiB, "gpu-memory-mib", 0, "nvidia.com/gpu.memory (default: the product's)")
	flags.StringVar(&o.nodes.cpu, "cpu", "192", "CPUs of each created node")
	flags.StringVar(&o.nodes.memory, "memory", "2Ti", "memory of each created node")
	flags.IntVar(&o.nodes.pods, "pods", 110, "pods that each created node takes")
	flags.IntVar(&o.nodeLeaseSeconds, "node-lease-seconds", 0,
		"have KWOK renew a lease of so many seconds per node, so that a stopped kwok makes nodes Unknown (0: no heartbeats at all)")
	flags.BoolVar(&o.taintNewNodes, "taint-new-nodes", false,
		"taint new nodes as not ready until the controller sees that they are, as by default in Kubernetes")
	flags.DurationVar(&o.startTimeout, "start-timeout", 90*time.Second, "give up when not ready by then")
	flags.BoolVar(&o.untilStdinCloses, "until-stdin-closes", false,
		"take commands from stdin (restart|start|stop|kill COMPONENT) and end when it closes")
	flags.Func("without", "leave out these components, comma-separated: controller-manager, scheduler, kwok", func(value string) error {
		for _, name := range strings.Split(value, ",") {
			name, err := componentName(name)
			if err != nil {
				return err
			}
			if name == etcdName || name == apiServerName {
				return fmt.Errorf("there is no control plane without %s", name)
			}
			o.without[name] = true
		}
		return nil
	})
	flags.Func("arg", "COMPONENT=FLAG: one more flag for a component, e.g. kube-apiserver=--v=4 (repeatable)", func(value string) error {
		name, extra, found := strings.Cut(value, "=")
		if !found {
			return errors.New("expected COMPONENT=FLAG")
		}
		name, err := componentName(name)
		if err != nil {
			return err
		}
		o.extraFlags[name] = append(o.extraFlags[name], extra)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.dir == "" {
		return nil, errors.New("--dir is required")
	}
	var err error
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return nil, err
	}
	if o.binary, err = os.Executable(); err != nil {
		return nil, err
	}
	if o.kwok == "" {
		o.kwok = filepath.Join(filepath.Dir(o.binary), "kwok")
	}
	return o, nil
}

// componentName takes a component's name with or without its kube- prefix.
func componentName(name string) (string, error) {
	name = strings.TrimSpace(name)
	for _, candidate := range []string{name, "kube-" + name} {
		if slices.Contains(componentNames, candidate) {
			return candidate, nil
		}
	}
	return "", fmt.Errorf("unknown component %q: one of %s", name, strings.Join(componentNames, ", "))
}

// readyReport is the line on stdout that says how to reach the control plane.
type readyReport struct {
	Kubeconfig string            `json:"kubeconfig"`
	Server     string            `json:"server"`
	Dir        string            `json:"dir"`
	CA         string            `json:"ca"`
	Etcd       string            `json:"etcd"`
	PIDs       map[string]int    `json:"pids"`
	Users      map[string]string `json:"users"`
	Logs       map[string]string `json:"logs"`
}

func (c *cluster) report() readyReport {
	report := readyReport{
		Kubeconfig: c.layout.kubeconfig(),
		Server:     c.server(),
		Dir:        c.layout.dir,
		CA:         c.layout.caCertificate(),
		Etcd:       "http://" + loopback(c.ports.etcd),
		PIDs:       map[string]int{},
		Users:      map[string]string{},
		Logs:       map[string]string{},
	}
	for name, child := range c.processes {
		report.PIDs[name] = child.pid()
		report.Logs[name] = child.logPath
	}
	for _, user := range users {
		report.Users[user.name] = c.layout.userKubeconfig(user.file)
	}
	return report
}

func upMain(args []string) int {
	o, err := parseOptions(args)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "up:", err)
		return exitUsage
	}
	say := func(format string, arguments ...any) {
		fmt.Fprintf(os.Stderr, "control plane: "+format+"\n", arguments...)
	}
	signalled, stopSignals := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stopSignals()
	running, end := context.WithCancel(signalled)
	defer end()
	var commands <-chan string
	if o.untilStdinCloses {
		commands = readLines(os.Stdin, end)
	}

	startContext, cancel := context.WithTimeout(running, o.startTimeout)
	c, err := startCluster(startContext, o, say)
	cancel()
	if err != nil {
		if running.Err() != nil {
			say("told to stop before it was ready")
			return 0
		}
		say("%v", err)
		return exitFailure
	}
	defer c.discard()
	if err := printJSON(c.report()); err != nil {
		say("%v", err)
		return exitFailure
	}
	say("look around with: export KUBECONFIG=%s PATH=%s:$PATH", c.layout.kubeconfig(), filepath.Dir(o.binary))
	c.serve(running, commands)
	say("stopping; the logs stay in %s", c.layout.path("logs"))
	return 0
}

// readLines passes lines on, and calls end when there are no more.
func readLines(from io.Reader, end func()) <-chan string {
	lines := make(chan string)
	go func() {
		scanner := bufio.NewScanner(from)
		for scanner.Scan() {
			lines <- scanner.Text()
		}
		end()
	}()
	return lines
}

func printJSON(value any) error { return json.NewEncoder(os.Stdout).Encode(value) }

// serve obeys commands until the context ends, and tells on stderr when a component ends unasked:
// tests kill components to see what becomes of the rest, so that is not the end of the control plane.
func (c *cluster) serve(ctx context.Context, commands <-chan string) {
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	told := map[*process]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case line := <-commands:
			if fields := strings.Fields(line); len(fields) > 0 {
				reply := c.obey(ctx, fields)
				if child := c.processes[reply.Component]; child != nil && !child.running() {
					told[child] = true
				}
				if err := printJSON(reply); err != nil {
					return
				}
			}
		case <-ticker.C:
			for name, child := range c.processes {
				if !child.running() && !told[child] {
					told[child] = true
					c.say("%s ended (%s)", name, child.command.ProcessState)
				}
			}
		}
	}
}

// reply answers one command: the component's process id once it is healthy again, or an error.
type reply struct {
	Command   string `json:"command"`
	Component string `json:"component,omitempty"`
	PID       int    `json:"pid,omitempty"`
	Error     string `json:"error,omitempty"`
}

func (c *cluster) obey(ctx context.Context, fields []string) reply {
	answer := reply{Command: fields[0]}
	failed := func(err error) reply {
		answer.Error = err.Error()
		return answer
	}
	if len(fields) != 2 {
		return failed(errors.New("expected restart|start|stop|kill COMPONENT"))
	}
	name, err := componentName(fields[1])
	if err != nil {
		return failed(err)
	}
	answer.Component = name
	child := c.processes[name]
	switch fields[0] {
	case "restart", "stop":
		if child != nil {
			child.stop(stopGrace)
		}
	case "kill":
		if child != nil {
			child.stop(0)
		}
	case "start":
		if child != nil && child.running() {
			return failed(fmt.Errorf("%s runs already", name))
		}
	default:
		return failed(fmt.Errorf("unknown command %q", fields[0]))
	}
	if fields[0] == "restart" || fields[0] == "start" {
		if err := c.bringBack(ctx, name); err != nil {
			return failed(err)
		}
		answer.PID = c.processes[name].pid()
	}
	return answer
}

// bringBack starts one component again and waits for its health alone: others may well be down on
// purpose.
func (c *cluster) bringBack(ctx context.Context, name string) error {
	if err := c.startComponent(name); err != nil {
		return err
	}
	child := c.processes[name]
	deadline := time.Now().Add(30 * time.Second)
	for !c.healthy(ctx, name) {
		if !child.running() {
			return child.diedEarly()
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("%s is not healthy, the end of its log:\n%s", name, tail(child.logPath, 8))
		}
		time.Sleep(pollInterval)
	}
	return nil
}
