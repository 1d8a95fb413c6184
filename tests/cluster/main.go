// Command control-plane holds the Kubernetes control plane that Gangplank's tests run against: the
// stock kube-apiserver, kube-controller-manager, kube-scheduler and etcd in one binary, and `up`,
// which runs them together with KWOK on loopback.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

const usage = `usage: control-plane COMMAND [FLAGS]

  up                          run a whole control plane on loopback until told to stop
  second-scheduler            run one more kube-scheduler against a running control plane
  service-account-kubeconfig  write a kubeconfig that acts as a service account

  etcd                        the stock components, with their own flags
  kube-apiserver
  kube-controller-manager
  kube-scheduler
  kubectl

A link to this binary that bears a command's name runs that command. Any command but up ends when
its standard input closes if ` + untilStdinClosesVariable + `=1 is set.`

const untilStdinClosesVariable = "CONTROL_PLANE_UNTIL_STDIN_CLOSES"

const (
	exitFailure = 1
	exitUsage   = 64
)

func main() {
	args := os.Args
	// Called through a link named after a command, the name is the command.
	run := command(filepath.Base(args[0]))
	if run == nil {
		if len(args) < 2 {
			fmt.Fprintln(os.Stderr, usage)
			os.Exit(exitUsage)
		}
		args = args[1:]
		run = command(args[0])
	}
	if run == nil {
		if name := args[0]; name == "help" || name == "-h" || name == "--help" {
			fmt.Println(usage)
			return
		}
		fmt.Fprintf(os.Stderr, "unknown command %q\n\n%s\n", args[0], usage)
		os.Exit(exitUsage)
	}
	if os.Getenv(untilStdinClosesVariable) == "1" {
		go terminateWhenStdinCloses()
	}
	run(args)
}

// command returns what runs the named command, or nil. It is given the argument list, name first.
func command(name string) func(args []string) {
	switch name {
	case "up":
		return func(args []string) { os.Exit(upMain(args[1:])) }
	case "second-scheduler":
		return secondSchedulerMain
	case "service-account-kubeconfig":
		return func(args []string) { os.Exit(serviceAccountKubeconfigMain(args[1:])) }
	case "etcd":
		return etcdmain.Main
	case "kube-apiserver":
		return cobraMain(apiserver.NewAPIServerCommand)
	case "kube-controller-manager":
		return cobraMain(controllermanager.NewControllerManagerCommand)
	case "kube-scheduler":
		return cobraMain(func() *cobra.Command { return scheduler.NewSchedulerCommand() })
	case "kubectl":
		return cobraMain(kubectl.NewDefaultKubectlCommand)
	}
	return nil
}

func cobraMain(construct func() *cobra.Command) func(args []string) {
	return func(args []string) {
		// cobra reads the process's argument list.
		os.Args = args
		os.Exit(cli.Run(construct()))
	}
}

// terminateWhenStdinCloses ties a component's life to the process that holds the other end of the
// pipe, so that a test that is killed leaves nothing running.
func terminateWhenStdinCloses() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = syscall.Kill(os.Getpid(), syscall.SIGTERM)
}
