// Command render prints the objects that a kustomization or a Helm chart makes, as one JSON list sorted by kind, namespace and
// name. It calls the libraries of kustomize and Helm, so that the tests need neither tool installed.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"sort"
	"strings"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/strvals"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/kustomize/kyaml/kio"
	"sigs.k8s.io/yaml"
)

const usage = `usage: render kustomize DIR
       render helm DIR [-namespace NAME] [-kube-version V] [-set KEY=VALUE]...`

type object = map[string]any

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(64)
	}
	var objects []object
	var err error
	switch os.Args[1] {
	case "kustomize":
		objects, err = kustomize(os.Args[2])
	case "helm":
		objects, err = helm(os.Args[2], os.Args[3:])
	default:
		err = errors.New(usage)
	}
	if err == nil {
		sort.SliceStable(objects, func(i, j int) bool { return key(objects[i]) < key(objects[j]) })
		out := json.NewEncoder(os.Stdout)
		out.SetIndent("", " ")
		err = out.Encode(objects)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "render:", err)
		os.Exit(1)
	}
}

func kustomize(dir string) ([]object, error) {
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		return nil, err
	}
	text, err := made.AsYaml()
	if err != nil {
		return nil, err
	}
	return parse(text)
}

func helm(dir string, args []string) ([]object, error) {
	flags := flag.NewFlagSet("helm", flag.ExitOnError)
	namespace := flags.String("namespace", "gangplank-system", "namespace of the release")
	kubeVersion := flags.String("kube-version", "v1.36.3", "version of the cluster that the chart is rendered for")
	values := map[string]any{}
	flags.Func("set", "a value of the chart, as in helm --set", func(s string) error { return strvals.ParseInto(s, values) })
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	chart, err := loader.Load(dir)
	if err != nil {
		return nil, err
	}
	version, err := chartutil.ParseKubeVersion(*kubeVersion)
	if err != nil {
		return nil, err
	}
	if !chartutil.IsCompatibleRange(chart.Metadata.KubeVersion, version.String()) {
		return nil, fmt.Errorf("the chart is for Kubernetes %s, not %s", chart.Metadata.KubeVersion, version)
	}
	capabilities := chartutil.DefaultCapabilities.Copy()
	capabilities.KubeVersion = *version
	release := chartutil.ReleaseOptions{Name: "gangplank", Namespace: *namespace, Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValues(chart, values, release, capabilities)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(chart, all)
	if err != nil {
		return nil, err
	}
	var objects []object
	for _, crd := range chart.CRDObjects() {
		files[crd.Filename] = string(crd.File.Data)
	}
	for name, text := range files {
		if strings.HasSuffix(name, "NOTES.txt") {
			continue
		}
		more, err := parse([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		objects = append(objects, more...)
	}
	return objects, nil
}

func parse(text []byte) ([]object, error) {
	// The reader splits documents as YAML does; a template may leave documents with nothing but comments.
	nodes, err := kio.FromBytes(text)
	if err != nil {
		return nil, err
	}
	var objects []object
	for _, node := range nodes {
		text, err := node.String()
		if err != nil {
			return nil, err
		}
		made := object{}
		if err := yaml.UnmarshalStrict([]byte(text), &made); err != nil {
			return nil, err
		}
		if len(made) > 0 {
			objects = append(objects, made)
		}
	}
	return objects, nil
}

func key(o object) string {
	meta, _ := o["metadata"].(map[string]any)
	return fmt.Sprint(o["kind"], "/", meta["namespace"], "/", meta["name"])
}
