// Threads of our own: no OpenMP runtime beside torch's. They live as long as one call, so nothing stays behind that a fork could break.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

// The calling thread and its helpers, started once, share one loop after the other. A helper that comes late is not waited for:
// on a busy machine (torch's own idle workers keep a core busy for a while) the others do its work.
class Team {
  public:
    explicit Team(int threads) {
        try {
            for (int i = 1; i < threads; i++) helpers.emplace_back([this] { help(); });
        } catch (...) {  // no more threads to be had: those that run do the work
        }
    }

    ~Team() {
        {
            std::lock_guard<std::mutex> lock(mutex);
            loops = -1;
        }
        wake.notify_all();
        for (auto& helper : helpers) helper.join();
    }

    int size() const { return int(helpers.size()) + 1; }

    // Calls work(i) for every i in [0, count), in no particular order: what is done may not depend on it.
    // Throws std::bad_alloc if any call threw.
    template <class Work>
    void parallel_for(int64_t count, const Work& work) {
        if (helpers.empty() || count < 2) {
            for (int64_t i = 0; i < count; i++) work(i);
            return;
        }
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
        {
            std::lock_guard<std::mutex> lock(mutex);
            context = &loop, run = [](void* it) { (*static_cast<decltype(loop)*>(it))(); };
            open = true, loops++;
        }
        wake.notify_all();
        loop();
        std::unique_lock<std::mutex> lock(mutex);
        open = false;  // who comes now would find nothing left to do
        idle.wait(lock, [this] { return working == 0; });
        if (failed) throw std::bad_alloc();
    }

  private:
    void help() {
        for (int64_t seen = 0;;) {
            // The next loop mostly follows at once: going to sleep first would cost more than waiting for it.
            for (int i = 0; i < SPINS && loops.load(std::memory_order_relaxed) == seen; i++) std::this_thread::yield();
            std::unique_lock<std::mutex> lock(mutex);
            wake.wait(lock, [&] { return loops != seen; });
            seen = loops;
            if (seen < 0) return;
            if (!open) continue;
            auto* function = run;
            void* it = context;
            working++;
            lock.unlock();
            function(it);
            lock.lock();
            if (--working == 0) idle.notify_one();
        }
    }

    static constexpr int SPINS = 200;
    std::vector<std::thread> helpers;
    std::mutex mutex;
    std::condition_variable wake, idle;
    std::atomic<int64_t> loops{0};  // counts the loops begun; -1 at the end
    bool open = false;
    int working = 0;  // helpers inside the loop
    void* context = nullptr;
    void (*run)(void*) = nullptr;
};
