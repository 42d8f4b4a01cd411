// Work over threads of our own: no OpenMP runtime beside torch's, nothing left behind that a fork could break.
#pragma once

#include <atomic>
#include <cstdint>
#include <new>
#include <thread>
#include <vector>

// Calls work(i) for every i in [0, count), in no particular order: what is done may not depend on it.
// Throws std::bad_alloc if any call did.
template <class Work>
void parallel_for(int64_t count, int threads, const Work& work) {
    std::atomic<int64_t> next{0};
    std::atomic<bool> failed{false};
    auto loop = [&] {
        try {
            for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) work(i);
        } catch (...) {
            failed = true;
            next = count;
        }
    };
    std::vector<std::thread> others;
    int helpers = int(threads < count ? threads : count) - 1;
    try {
        for (int i = 0; i < helpers; i++) others.emplace_back(loop);
    } catch (...) {  // no more threads to be had: those that run do the work
    }
    loop();
    for (auto& t : others) t.join();
    if (failed) throw std::bad_alloc();
}
