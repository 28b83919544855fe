import java.io.FileWriter;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.atomic.AtomicLong;

/** Threads that fill, change and check a heap: arguments log, threads, MiB of each. */
public class Heap {
  static final AtomicLong rounds = new AtomicLong();
  static volatile String wrong;

  static void work(int number, int mebibytes) throws InterruptedException {
    Random random = new Random(number);
    List<long[]> blocks = new ArrayList<>();
    for (int i = 0; i < mebibytes; ++i) blocks.add(fill(new long[1 << 17], random.nextLong()));
    while (wrong == null) {
      int at = random.nextInt(blocks.size());
      long[] block = blocks.get(at);
      for (int i = 1; i < block.length; ++i) {
        if (block[i] != block[0] * 31 + i) wrong = "thread " + number + " block " + at;
      }
      blocks.set(at, fill(new long[1 << 17], random.nextLong()));
      rounds.incrementAndGet();
      Thread.sleep(5);  // the agent works with what is left of the processors
    }
  }

  static long[] fill(long[] block, long seed) {
    block[0] = seed;
    for (int i = 1; i < block.length; ++i) block[i] = seed * 31 + i;
    return block;
  }

  public static void main(String[] words) throws Exception {
    for (int i = 0; i < Integer.parseInt(words[1]); ++i) {
      int number = i;
      Thread thread = new Thread(() -> {
        try {
          work(number, Integer.parseInt(words[2]));
        } catch (InterruptedException error) {
          wrong = error.toString();
        }
      });
      thread.setDaemon(true);
      thread.start();
    }
    try (FileWriter log = new FileWriter(words[0], true)) {
      while (true) {
        log.write((wrong == null ? "ok " : "wrong: " + wrong + " ") + rounds.get() + "\n");
        log.flush();
        Thread.sleep(10);
      }
    }
  }
}
