package main

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// nodePlan says which nodes `up` creates.
type nodePlan struct {
	count       int
	gpusPerNode int
	product     string
	memoryMiB   int
	cpu         string
	memory      string
	pods        int
}

// memoryPerGPUMiB holds what GPU feature discovery reports as nvidia.com/gpu.memory.
var memoryPerGPUMiB = map[string]int{
	"NVIDIA-B200":                179 * 1024,
	"NVIDIA-H200":                143771,
	"NVIDIA-H100-80GB-HBM3":      81559,
	"NVIDIA-A100-SXM4-80GB":      81920,
	"NVIDIA-A100-SXM4-40GB":      40960,
	"NVIDIA-L40S":                46068,
	"NVIDIA-L4":                  23034,
	"NVIDIA-A10":                 23028,
	"Tesla-V100-SXM2-32GB":       32768,
	"Tesla-V100-SXM2-16GB":       16384,
	"Tesla-T4":                   15360,
	"NVIDIA-GeForce-RTX-2080-Ti": 11264,
}

func (plan nodePlan) node(index int) (*corev1.Node, error) {
	name := fmt.Sprintf("gpu-node-%05d", index)
	allocatable := corev1.ResourceList{}
	amounts := map[corev1.ResourceName]string{
		corev1.ResourceCPU:              plan.cpu,
		corev1.ResourceMemory:           plan.memory,
		corev1.ResourcePods:             fmt.Sprint(plan.pods),
		corev1.ResourceEphemeralStorage: "1Ti",
	}
	labels := map[string]string{
		corev1.LabelHostname:   name,
		corev1.LabelOSStable:   "linux",
		corev1.LabelArchStable: "amd64",
		// kubelets set these too; without them the node controller writes them to each node.
		"beta.kubernetes.io/os":   "linux",
		"beta.kubernetes.io/arch": "amd64",
		"type":                    "kwok",
	}
	if plan.gpusPerNode > 0 {
		memoryMiB := plan.memoryMiB
		if memoryMiB == 0 {
			memoryMiB = memoryPerGPUMiB[plan.product]
		}
		if memoryMiB == 0 {
			return nil, fmt.Errorf("the memory of a %s is not known: name it with --gpu-memory-mib", plan.product)
		}
		amounts["nvidia.com/gpu"] = fmt.Sprint(plan.gpusPerNode)
		labels["nvidia.com/gpu.present"] = "true"
		labels["nvidia.com/gpu.product"] = plan.product
		labels["nvidia.com/gpu.count"] = fmt.Sprint(plan.gpusPerNode)
		labels["nvidia.com/gpu.memory"] = fmt.Sprint(memoryMiB)
		labels["nvidia.com/gpu.replicas"] = "1"
	}
	for resourceName, amount := range amounts {
		quantity, err := resource.ParseQuantity(amount)
		if err != nil {
			return nil, fmt.Errorf("%s %q: %w", resourceName, amount, err)
		}
		allocatable[resourceName] = quantity
	}
	now := metav1.Now()
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name:        name,
			Labels:      labels,
			Annotations: map[string]string{"kwok.x-k8s.io/node": "fake"},
		},
		Status: corev1.NodeStatus{
			Capacity:    allocatable,
			Allocatable: allocatable,
			// A node that is created ready spares KWOK one write for each.
			Conditions: []corev1.NodeCondition{{
				Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady",
				Message: "kubelet is posting ready status", LastHeartbeatTime: now, LastTransitionTime: now,
			}},
			NodeInfo: corev1.NodeSystemInfo{
				OperatingSystem: "linux", Architecture: "amd64", KubeletVersion: "v1.36.3",
				ContainerRuntimeVersion: "kwok", KernelVersion: "kwok", OSImage: "kwok",
			},
		},
	}, nil
}

// createNodes creates the planned nodes, many at a time.
func createNodes(ctx context.Context, client kubernetes.Interface, plan nodePlan) error {
	const parallelism = 16
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	indexes := make(chan int)
	var workers sync.WaitGroup
	for range min(parallelism, plan.count) {
		workers.Go(func() {
			for index := range indexes {
				node, err := plan.node(index)
				if err == nil {
					_, err = client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
				}
				if err != nil {
					cancel(fmt.Errorf("creating node %d: %w", index, err))
				}
			}
		})
	}
	for index := range plan.count {
		if ctx.Err() != nil {
			break
		}
		indexes <- index
	}
	close(indexes)
	workers.Wait()
	return context.Cause(ctx)
}

// nodesAreSchedulable tells whether so many nodes are ready and rid of the taint that admission may put
// on every new node. The answer comes from the watch cache: etcd has nothing to add here.
func nodesAreSchedulable(ctx context.Context, client kubernetes.Interface, count int) (bool, error) {
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return false, err
	}
	schedulable := 0
	for index := range nodes.Items {
		if nodeIsSchedulable(&nodes.Items[index]) {
			schedulable++
		}
	}
	return schedulable >= count, nil
}

func nodeIsSchedulable(node *corev1.Node) bool {
	for _, taint := range node.Spec.Taints {
		if taint.Key == corev1.TaintNodeNotReady {
			return false
		}
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}
