package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"
)

// schedulerQPS lifts the client-side limit of 50 writes a second, which would hide what is measured.
const schedulerQPS = 1000

// completeSchedulerConfig writes a KubeSchedulerConfiguration with what every scheduler here needs
// and the given file leaves open: a scheduler that has --config ignores the flags for these.
func completeSchedulerConfig(l layout, from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	config := map[string]any{}
	if err := yaml.Unmarshal(content, &config); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	setDefault(config, "apiVersion", "kubescheduler.config.k8s.io/v1")
	setDefault(config, "kind", "KubeSchedulerConfiguration")
	connection := section(config, "clientConnection")
	setDefault(connection, "kubeconfig", l.userKubeconfig(schedulerName))
	setDefault(connection, "qps", schedulerQPS)
	setDefault(connection, "burst", schedulerQPS)
	setDefault(section(config, "leaderElection"), "leaderElect", false)
	content, err = yaml.Marshal(config)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o644)
}

func setDefault(object map[string]any, key string, value any) {
	if _, present := object[key]; !present {
		object[key] = value
	}
}

func section(object map[string]any, key string) map[string]any {
	inner, isObject := object[key].(map[string]any)
	if !isObject {
		inner = map[string]any{}
		object[key] = inner
	}
	return inner
}

// secondSchedulerMain becomes a kube-scheduler of a running control plane. Anything after -- goes to
// it as it stands.
func secondSchedulerMain(args []string) {
	flags := flag.NewFlagSet(args[0], flag.ExitOnError)
	dir := flags.String("dir", "", "the running control plane's folder (required)")
	config := flags.String("config", "", "its KubeSchedulerConfiguration (required)")
	name := flags.String("name", "second-scheduler", "names its completed configuration in the folder")
	port := flags.Int("port", 0, "its health and metrics port on loopback (default: a free one)")
	_ = flags.Parse(args[1:])
	fail := func(err error) {
		fmt.Fprintf(os.Stderr, "%s: %v\n", args[0], err)
		os.Exit(exitUsage)
	}
	if *dir == "" || *config == "" {
		fail(fmt.Errorf("--dir and --config are required"))
	}
	folder, err := filepath.Abs(*dir)
	if err != nil {
		fail(err)
	}
	if *port == 0 {
		if *port, err = freePort(nil); err != nil {
			fail(err)
		}
	}
	l := layout{dir: folder}
	completed := l.path(*name + ".yaml")
	if err := completeSchedulerConfig(l, *config, completed); err != nil {
		fail(err)
	}
	command(schedulerName)(append([]string{
		schedulerName,
		"--config=" + completed,
		"--leader-elect=false",
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", *port),
		"--tls-cert-file=" + l.servingCertificate(),
		"--tls-private-key-file=" + l.servingKey(),
	}, flags.Args()...))
}
