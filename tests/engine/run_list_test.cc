#include "engine/run_list.h"

#include <gtest/gtest.h>

#include "engine/format.pb.h"
#include "tests/engine/format_fixture.h"

namespace snapstore {
namespace {

// One chunk or one hole of a content.
struct Piece {
  uint64_t offset = 0;
  uint64_t hole = 0;  // length; 0: a chunk
  ChunkRef chunk;
  bool operator==(const Piece&) const = default;
  uint64_t length() const { return hole > 0 ? hole : chunk.id.length; }
};

void Append(std::vector<Piece>* pieces, Piece piece) {
  piece.offset = pieces->empty() ? 0 : pieces->back().offset + pieces->back().length();
  if (piece.hole > 0 && !pieces->empty() && pieces->back().hole > 0) {
    pieces->back().hole += piece.hole;
  } else {
    pieces->push_back(piece);
  }
}

std::vector<Piece> RandomContent(SplitMix64* random, size_t steps) {
  std::vector<Piece> pieces;
  ChunkRef ref;
  for (size_t i = 0; i < steps; ++i) {
    const uint64_t kind = random->Below(20);
    if (kind == 0) {
      Append(&pieces, {.hole = 1 + random->Below(1 << 30), .chunk = {}});
      continue;
    }
    if (kind == 1) {  // a run of one chunk
      for (uint64_t n = random->Below(5); n > 0 && ref.id.length > 0; --n) {
        Append(&pieces, {.chunk = ref});
      }
      continue;
    }
    const bool next_in_frame = kind < 14 && ref.chunk_in_frame + 1 < 4096 && ref.id.length > 0;
    if (next_in_frame) {
      ++ref.chunk_in_frame;
    } else {
      ref.pack = static_cast<uint32_t>(random->Below(1000));
      ref.frame_offset = static_cast<uint32_t>(random->Below(32 << 20));
      ref.frame_length = static_cast<uint32_t>(25 + random->Below(256 << 10));
      ref.chunk_in_frame = static_cast<uint16_t>(random->Below(64));
    }
    ref.id = RandomId(random, static_cast<uint32_t>(1 + random->Below(64 << 10)));
    Append(&pieces, {.chunk = ref});
  }
  return pieces;
}

std::vector<Piece> Expand(const std::vector<snapstore::Run>& runs) {
  std::vector<Piece> pieces;
  for (const snapstore::Run& run : runs) {
    if (run.hole) {
      Append(&pieces, {.hole = run.length, .chunk = {}});
    } else {
      EXPECT_EQ(run.length, run.count * run.chunk.id.length);
      for (uint64_t i = 0; i < run.count; ++i) Append(&pieces, {.chunk = run.chunk});
    }
  }
  return pieces;
}

format::StreamRoot Write(Bench* bench, const std::vector<Piece>& pieces,
                         const format::StreamRoot* parent = nullptr) {
  RunListWriter writer(&bench->writer(), &bench->secret(), &bench->nodes(), parent);
  for (const Piece& piece : pieces) {
    const Status status =
        piece.hole > 0 ? writer.AddHole(piece.hole) : writer.AddChunk(PendingRef(piece.chunk));
    EXPECT_TRUE(status.ok()) << status.ToString();
  }
  format::StreamRoot root;
  EXPECT_TRUE(writer.Finish(&root).ok());
  bench->Flush();
  EXPECT_EQ(root.span(), writer.size());
  return root;
}

std::vector<snapstore::Run> ReadRuns(RunListReader* reader) {
  std::vector<snapstore::Run> runs;
  while (true) {
    const auto run = reader->Next();
    EXPECT_TRUE(run.ok()) << run.status().ToString();
    if (!run.ok() || *run == nullptr) return runs;
    runs.push_back(**run);
  }
}

TEST(RunLeaf, GroupsRepetitionsAndHolesTakeFewBytes) {
  SplitMix64 random(1);
  ChunkRef ref{RandomId(&random, 4096), 3, 1000, 5000, 7};
  RunLeafBuilder builder;
  builder.AddHole(uint64_t{1} << 40);
  for (int i = 0; i < 1000000; ++i) builder.AddChunk(ref);
  EXPECT_FALSE(builder.Full());
  const uint64_t span = builder.span();
  const Bytes leaf = builder.Take();
  EXPECT_LT(leaf.size(), 50u);
  std::vector<snapstore::Run> runs;
  ASSERT_TRUE(ParseRunLeaf(leaf, 10, span, nullptr, &runs).ok());
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_TRUE(runs[0].hole);
  EXPECT_EQ(runs[0].offset, 10u);
  EXPECT_EQ(runs[1].offset, 10 + (uint64_t{1} << 40));
  EXPECT_EQ(runs[1].count, 1000000u);
  EXPECT_EQ(runs[1].chunk, ref);

  // Chunks that follow each other in a frame cost an id and a length each.
  for (int i = 0; i < 100; ++i) {
    ref.id = RandomId(&random, 4096);
    ++ref.chunk_in_frame;
    builder.AddChunk(ref);
  }
  EXPECT_LE(builder.Take().size(), 100 * 18 + 16u);
}

TEST(RunLeaf, ComesBackAsItWentIn) {
  const uint64_t seed = TestSeed();
  SNAP_TRACE_SEED(seed);
  SplitMix64 random(seed);
  for (int round = 0; round < 200; ++round) {
    const std::vector<Piece> pieces = RandomContent(&random, 1 + random.Below(100));
    RunLeafBuilder builder;
    for (const Piece& piece : pieces) {
      if (piece.hole > 0) {
        builder.AddHole(piece.hole);
      } else {
        builder.AddChunk(piece.chunk);
      }
    }
    const uint64_t span = builder.span();
    const Bytes leaf = builder.Take();
    std::vector<snapstore::Run> runs;
    ASSERT_TRUE(ParseRunLeaf(leaf, 0, span, nullptr, &runs).ok());
    ASSERT_EQ(Expand(runs), pieces);
    EXPECT_FALSE(ParseRunLeaf(leaf, 0, span + 1, nullptr, &runs).ok());
    if (span > 0) {
      EXPECT_FALSE(ParseRunLeaf(leaf, 0, span - 1, nullptr, &runs).ok());
    }
  }
}

TEST(RunLeaf, DamageNeverYieldsMoreThanItsSpan) {
  SplitMix64 random(3);
  RunLeafBuilder builder;
  for (const Piece& piece : RandomContent(&random, 30)) {
    if (piece.hole > 0) {
      builder.AddHole(piece.hole);
    } else {
      builder.AddChunk(piece.chunk);
    }
  }
  const uint64_t span = builder.span();
  const Bytes leaf = builder.Take();
  ForEachDamage(leaf, [&](const Bytes& damaged) {
    std::vector<snapstore::Run> runs;
    const Status status = ParseRunLeaf(damaged, 0, span, nullptr, &runs);
    if (damaged.size() < leaf.size()) {
      EXPECT_TRUE(status.Is(StatusCode::kCorruption));
    }
    if (!status.ok()) return;
    uint64_t at = 0;
    for (const snapstore::Run& run : runs) {
      EXPECT_EQ(run.offset, at);
      EXPECT_GT(run.length, 0u);
      at += run.length;
    }
    EXPECT_EQ(at, span);
  });
}

TEST(RunList, ComesBackAsItWentIn) {
  const uint64_t seed = TestSeed();
  SNAP_TRACE_SEED(seed);
  SplitMix64 random(seed);
  for (const size_t steps : {0, 1, 10, 1000, 30000}) {
    Bench bench;
    const std::vector<Piece> pieces = RandomContent(&random, steps);
    const format::StreamRoot root = Write(&bench, pieces);
    EXPECT_LE(root.nodes().size(), 4096u);
    RunListReader reader(&bench.nodes(), root);
    EXPECT_EQ(Expand(ReadRuns(&reader)), pieces) << steps << " steps";
  }
}

TEST(RunList, SeekEqualsLinearWalk) {
  const uint64_t seed = TestSeed();
  SNAP_TRACE_SEED(seed);
  SplitMix64 random(seed);
  Bench bench;
  const format::StreamRoot root = Write(&bench, RandomContent(&random, 200000));
  ASSERT_GE(root.depth(), 2u);
  RunListReader linear(&bench.nodes(), root);
  const std::vector<snapstore::Run> runs = ReadRuns(&linear);
  RunListReader reader(&bench.nodes(), root);
  for (int i = 0; i < 300; ++i) {
    const uint64_t offset = random.Below(root.span());
    ASSERT_TRUE(reader.Seek(offset).ok());
    const auto run = reader.Next();
    ASSERT_TRUE(run.ok() && *run != nullptr);
    EXPECT_LE((*run)->offset, offset);
    EXPECT_GT((*run)->offset + (*run)->length, offset);
    const auto expected = std::find_if(runs.begin(), runs.end(), [&](const snapstore::Run& r) {
      return r.offset == (*run)->offset;
    });
    ASSERT_NE(expected, runs.end());
    EXPECT_EQ(expected->length, (*run)->length);
    // The walk goes on from there.
    if (expected + 1 != runs.end()) {
      const auto next = reader.Next();
      ASSERT_TRUE(next.ok() && *next != nullptr);
      EXPECT_EQ((*next)->offset, (expected + 1)->offset);
    }
  }
  for (const uint64_t beyond : {root.span(), root.span() + 5}) {
    ASSERT_TRUE(reader.Seek(beyond).ok());
    const auto end = reader.Next();
    ASSERT_TRUE(end.ok());
    EXPECT_EQ(*end, nullptr);
  }
}

TEST(RunList, SmallEditRewritesFewNodes) {
  const uint64_t seed = TestSeed();
  SNAP_TRACE_SEED(seed);
  SplitMix64 random(seed);
  Bench bench;
  std::vector<Piece> pieces = RandomContent(&random, 200000);
  const format::StreamRoot before = Write(&bench, pieces);
  const uint64_t nodes = bench.index().ApproximateChunkCount();
  ASSERT_GT(nodes, 200u);
  // Replace one chunk, insert one, remove one, each somewhere else.
  for (const int edit : {0, 1, 2}) {
    const size_t at = random.Below(pieces.size() - 1);
    Piece fresh;
    fresh.chunk = {RandomId(&random, 4096), 7, 7777, 777, 0};
    if (edit == 0) pieces[at] = fresh;
    if (edit == 1) pieces.insert(pieces.begin() + static_cast<ptrdiff_t>(at), fresh);
    if (edit == 2) pieces.erase(pieces.begin() + static_cast<ptrdiff_t>(at));
    const uint64_t nodes_before = bench.index().ApproximateChunkCount();
    const format::StreamRoot after = Write(&bench, pieces);
    const uint64_t fresh_nodes = bench.index().ApproximateChunkCount() - nodes_before;
    // The leaf, perhaps its neighbour, and their ancestors.
    EXPECT_GE(fresh_nodes, 1u) << "edit " << edit;
    EXPECT_LE(fresh_nodes, 8u) << "edit " << edit;
  }
}

// Generation after generation, with holes and chunks coming and going at random places.
TEST(RunList, ContinuesAParentsListWhateverChanged) {
  const uint64_t seed = TestSeed();
  SNAP_TRACE_SEED(seed);
  SplitMix64 random(seed);
  Bench bench;
  std::vector<Piece> pieces = RandomContent(&random, 20000);
  format::StreamRoot root = Write(&bench, pieces);
  for (int generation = 0; generation < 12; ++generation) {
    std::vector<Piece> next;
    const uint64_t rate = 1 + random.Below(300);
    for (const Piece& piece : pieces) {
      if (random.Below(1000) >= rate) {
        Append(&next, piece);
        continue;
      }
      const uint64_t kind = random.Below(4);
      Piece fresh;
      fresh.chunk = {RandomId(&random, piece.hole > 0 ? 4096 : piece.chunk.id.length), 7, 7777, 777,
                     static_cast<uint16_t>(random.Below(5))};
      if (kind == 0) Append(&next, {.hole = piece.length(), .chunk = {}});  // zeroed, same length
      if (kind == 1) Append(&next, fresh);                                  // overwritten
      if (kind == 2) {                                                      // inserted before
        Append(&next, fresh);
        Append(&next, piece);
      }
    }
    // Sometimes it ends earlier.
    if (random.Below(3) == 0) next.resize(next.size() - random.Below(next.size() / 2));
    pieces = next;
    root = Write(&bench, pieces, &root);
    RunListReader reader(&bench.nodes(), root);
    ASSERT_EQ(Expand(ReadRuns(&reader)), pieces) << "generation " << generation;
  }
}

// What process memory does.
TEST(RunList, ChangesAtRandomPlacesCostWhatTheyAre) {
  SplitMix64 random(TestSeed());
  constexpr size_t kPages = 64 << 10;
  constexpr size_t kChanged = kPages / 100;
  Bench bench;
  std::vector<ChunkRef> pages(kPages);
  uint32_t frame = 0;
  uint16_t place = 0;
  const auto write_page = [&](size_t page) {
    if (++place == 256) {
      place = 0;
      ++frame;
    }
    pages[page] = {RandomId(&random, 4096), frame / 64, frame % 64 << 20, 400'000, place};
  };
  for (size_t page = 0; page < kPages; ++page) write_page(page);
  format::StreamRoot root;
  uint64_t last = 0;
  uint64_t worst = 0;
  uint64_t sum = 0;
  constexpr int kGenerations = 40;
  for (int generation = 0; generation <= kGenerations; ++generation) {
    RunListWriter writer(&bench.writer(), &bench.secret(), &bench.nodes(),
                         generation == 0 ? nullptr : &root);
    for (const ChunkRef& page : pages) ASSERT_TRUE(writer.AddChunk(PendingRef(page)).ok());
    format::StreamRoot next;
    ASSERT_TRUE(writer.Finish(&next).ok());
    bench.Flush();
    root = next;
    const uint64_t stored = bench.writer().stats().bytes_stored;
    if (generation > 0) {
      worst = std::max(worst, stored - last);
      sum += stored - last;
    }
    last = stored;
    frame += 10;
    for (size_t i = 0; i < kChanged; ++i) write_page(random.Below(kPages));
  }
  // The whole list is kPages * 18 bytes; a page that changed, about 30.
  EXPECT_LT(sum / kGenerations, kPages * 18 / 4);
  EXPECT_LT(worst, kPages * 18);
  RunListReader reader(&bench.nodes(), root);
  EXPECT_EQ(ReadRuns(&reader).size(), kPages);
}

TEST(RunLeaf, ABaseMayHaveNoneAndMustCoverTheSameBytes) {
  SplitMix64 random(3);
  Bench bench;
  const auto put = [&](const Bytes& leaf) {
    const Result<PendingRef> ref =
        bench.writer().Put(PackKind::kMeta, ComputeChunkId(bench.secret(), leaf), leaf);
    EXPECT_TRUE(ref.ok());
    bench.Flush();
    return ref->Resolve();
  };
  RunLeafBuilder builder;
  builder.AddHole(8192);
  builder.AddChunk({RandomId(&random, 4096), 0, 16, 5000, 0});
  builder.AddChunk({RandomId(&random, 4096), 0, 16, 5000, 1});
  const ChunkRef base = put(builder.Take());
  const auto based_on = [&](const ChunkRef& ref, std::initializer_list<uint64_t> kept) {
    RunLeafBuilder changes;
    changes.StartFrom(ref);
    for (const uint64_t length : kept) {
      changes.Keep(length);
      changes.AddHole(4096);
    }
    return changes.Take();
  };
  std::vector<snapstore::Run> runs;
  const Bytes good = based_on(base, {12288});
  ASSERT_TRUE(ParseRunLeaf(good, 0, 16384, &bench.nodes(), &runs).ok());
  ASSERT_EQ(runs.size(), 3u);
  EXPECT_EQ(runs[1].length, 4096u);
  EXPECT_TRUE(ParseRunLeaf(based_on(base, {100, 12288 - 4196}), 0, 16384 + 4096, &bench.nodes(),
                           &runs)
                  .Is(StatusCode::kCorruption));  // longer than the base
  EXPECT_TRUE(ParseRunLeaf(based_on(base, {8192 + 100}), 0, 8192 + 4196, &bench.nodes(), &runs)
                  .Is(StatusCode::kCorruption));  // half a chunk
  EXPECT_TRUE(ParseRunLeaf(based_on(put(good), {12288}), 0, 16384, &bench.nodes(), &runs)
                  .Is(StatusCode::kCorruption));  // a base with a base
  EXPECT_TRUE(ParseRunLeaf(good, 0, 16384, /*bases=*/nullptr, &runs).Is(StatusCode::kCorruption));
}

TEST(NodeTree, LyingSpansAreCorruption) {
  SplitMix64 random(5);
  Bench bench;
  format::StreamRoot root = Write(&bench, RandomContent(&random, 30000));
  ASSERT_GE(root.depth(), 1u);
  root.set_span(root.span() + 1);
  RunListReader longer(&bench.nodes(), root);
  EXPECT_TRUE(longer.Next().status().Is(StatusCode::kCorruption));

  format::StreamRoot empty;
  empty.set_span(5);
  RunListReader nothing(&bench.nodes(), empty);
  EXPECT_TRUE(nothing.Next().status().Is(StatusCode::kCorruption));

  format::StreamRoot deep = root;
  deep.set_depth(kNodeDepthMax + 1);
  RunListReader too_deep(&bench.nodes(), deep);
  EXPECT_TRUE(too_deep.Next().status().Is(StatusCode::kCorruption));
}

TEST(NodeTree, InnerNodeSurvivesAnyDamage) {
  const uint64_t seed = TestSeed();
  SNAP_TRACE_SEED(seed);
  SplitMix64 random(seed);
  std::vector<NodeRef> refs;
  Bytes node;
  uint64_t span = 0;
  for (int i = 0; i < 40; ++i) {
    NodeRef ref;
    ref.chunk = {RandomId(&random, 1 + static_cast<uint32_t>(random.Below(kChunkBytesMax))),
                 static_cast<uint32_t>(random.Next()), static_cast<uint32_t>(random.Below(1 << 28)),
                 static_cast<uint32_t>(random.Below(1 << 20)),
                 static_cast<uint16_t>(random.Next())};
    ref.span = random.Below(uint64_t{1} << 50);
    span += ref.span;
    AppendNodeRef(ref, &node);
    refs.push_back(ref);
  }
  const auto parsed = ParseNode(node, span);
  ASSERT_TRUE(parsed.ok()) << parsed.status().ToString();
  ASSERT_EQ(parsed->size(), refs.size());
  for (size_t i = 0; i < refs.size(); ++i) {
    EXPECT_EQ((*parsed)[i].chunk, refs[i].chunk);
    EXPECT_EQ((*parsed)[i].span, refs[i].span);
  }
  EXPECT_FALSE(ParseNode(node, span + 1).ok());
  ForEachDamage(node, [&](const Bytes& damaged) {
    const auto result = ParseNode(damaged, span);
    if (damaged.size() < node.size()) {
      EXPECT_FALSE(result.ok());
    }
  });
}

}  // namespace
}  // namespace snapstore
