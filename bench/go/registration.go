// The rival of programs/registration.ts that is written in Go: clientv3's leases and keepalives.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const value = `{"id":"%s","name":"bench","version":"1.4.2","metadata":{"mark":"","region":"eu-central-1","build":"2f9c1e7a55d04c0b"},"endpoints":["http://10.0.0.5:8080","grpc://10.0.0.5:9090"],"weight":1,"zone":"a","status":"up"}`

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// Milliseconds of CPU, user and system, of all threads.
func cpu() float64 {
	var usage syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e6
}

func residentBytes() float64 {
	text, err := os.ReadFile("/proc/self/statm")
	must(err)
	pages, err := strconv.ParseFloat(strings.Fields(string(text))[1], 64)
	must(err)
	return pages * float64(os.Getpagesize())
}

func sleep(millis float64) { time.Sleep(time.Duration(millis) * time.Millisecond) }

func main() {
	endpoint := os.Args[2]
	var parameters struct {
		Count, Concurrency int
		TTL                int64
		SettleMillis       float64
		HeartbeatMillis    float64
	}
	must(json.Unmarshal([]byte(os.Args[3]), &parameters))
	ctx := context.Background()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}})
	must(err)
	_, err = client.Get(ctx, "warm")
	must(err)
	fmt.Println("ready")
	_, err = io.ReadAll(os.Stdin)
	must(err)

	register := func(id string) {
		lease, err := client.Grant(ctx, parameters.TTL)
		must(err)
		_, err = client.Put(ctx, "/services/bench/"+id, fmt.Sprintf(value, id), clientv3.WithLease(lease.ID))
		must(err)
		answers, err := client.KeepAlive(ctx, lease.ID)
		must(err)
		go func() {
			for range answers {
			}
		}()
	}

	cpuAtStart, startedAt := cpu(), time.Now()
	ids := make(chan string)
	var mutex sync.Mutex
	var times []float64
	var loops sync.WaitGroup
	for loop := 0; loop < parameters.Concurrency; loop++ {
		loops.Add(1)
		go func() {
			defer loops.Done()
			for id := range ids {
				from := time.Now()
				register(id)
				took := time.Since(from).Seconds() * 1e3
				mutex.Lock()
				times = append(times, took)
				mutex.Unlock()
			}
		}()
	}
	for index := 0; index < parameters.Count; index++ {
		ids <- "i" + strconv.Itoa(index)
	}
	close(ids)
	loops.Wait()
	sort.Float64s(times)
	all := time.Since(startedAt).Seconds() * 1e3
	fmt.Println("registered")
	sleep(parameters.SettleMillis)
	figures := map[string]float64{
		"ms for all":         all,
		"p50 ms":             times[len(times)/2],
		"CPU ms to register": cpu() - cpuAtStart,
		"resident MB":        residentBytes() / 1e6,
	}
	fmt.Println("settled")
	if parameters.HeartbeatMillis > 0 {
		cpuBefore := cpu()
		sleep(parameters.HeartbeatMillis)
		figures["CPU ms of heartbeats"] = cpu() - cpuBefore
	}
	told, err := json.Marshal(figures)
	must(err)
	fmt.Println("figures " + string(told))
	select {}
}
