#include "base/xaes_gcm.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "base/key_derivation.h"
#include "base/random.h"
#include "base/sha256.h"

namespace snapstore {
namespace {

Bytes FromHex(std::string_view hex) {
  Bytes out(hex.size() / 2);
  EXPECT_TRUE(HexDecode(hex, out).ok());
  return out;
}

XaesGcm::Nonce NonceOf(std::string_view text) {
  XaesGcm::Nonce nonce{};
  std::copy(text.begin(), text.end(), nonce.begin());
  return nonce;
}

Bytes SealBytes(const XaesGcm& cipher, const XaesGcm::Nonce& nonce, std::string_view associated,
                ByteSpan plain) {
  Bytes out(plain.size() + XaesGcm::kTagBytes);
  const ByteSpan parts[] = {AsBytes(associated)};
  cipher.Seal(nonce, parts, plain, out);
  return out;
}

// The two vectors of c2sp.org/XAES-256-GCM: their derivations end with and without a carry.
TEST(XaesGcm, GivesTheVectorsOfItsSpecification) {
  const auto nonce = NonceOf("ABCDEFGHIJKLMNOPQRSTUVWX");
  const XaesGcm ones(Secret(std::string(32, '\x01')));
  EXPECT_EQ(HexEncode(SealBytes(ones, nonce, "", AsBytes("XAES-256-GCM"))),
            "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271");
  const XaesGcm threes(Secret(std::string(32, '\x03')));
  const Bytes sealed = SealBytes(threes, nonce, "c2sp.org/XAES-256-GCM", AsBytes("XAES-256-GCM"));
  EXPECT_EQ(HexEncode(sealed), "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d");
  Bytes opened(12);
  const ByteSpan parts[] = {AsBytes("c2sp.org/"), {}, AsBytes("XAES-256-GCM")};
  EXPECT_TRUE(threes.Open(nonce, parts, sealed, opened));
  EXPECT_EQ(AsText(opened), "XAES-256-GCM");
}

TEST(XaesGcm, OpensNothingThatWasChangedAndLeavesNothingOfIt) {
  const XaesGcm cipher(Secret(std::string(32, 'k')));
  const auto nonce = NonceOf("0123456789abcdefghijklmn");
  const std::string plain(100, 'p');
  const Bytes sealed = SealBytes(cipher, nonce, "about", AsBytes(plain));
  const ByteSpan about[] = {AsBytes("about")};
  const ByteSpan other[] = {AsBytes("abouT")};
  Bytes opened(plain.size());
  for (size_t i = 0; i < sealed.size(); ++i) {
    Bytes damaged = sealed;
    damaged[i] ^= 0x40;
    ASSERT_FALSE(cipher.Open(nonce, about, damaged, opened)) << i;
    ASSERT_EQ(opened, Bytes(plain.size())) << i;
  }
  for (size_t i = 0; i < nonce.size(); ++i) {
    auto changed = nonce;
    changed[i] ^= 1;
    EXPECT_FALSE(cipher.Open(changed, about, sealed, opened)) << i;
  }
  EXPECT_FALSE(cipher.Open(nonce, other, sealed, opened));
  EXPECT_FALSE(XaesGcm(Secret(std::string(32, 'K'))).Open(nonce, about, sealed, opened));
  ASSERT_TRUE(cipher.Open(nonce, about, sealed, opened));
  EXPECT_EQ(AsText(opened), plain);
}

TEST(XaesGcm, TakesAnyLengthInPlaceFromManyThreads) {
  const XaesGcm cipher(Secret(std::string(32, 'k')));
  const auto work = [&](uint64_t seed) {
    SplitMix64 random(seed);
    for (const size_t size : {0, 1, 15, 16, 17, 4096, 100'003}) {
      XaesGcm::Nonce nonce;
      for (uint8_t& byte : nonce) byte = static_cast<uint8_t>(random.Next());
      Bytes bytes(size + XaesGcm::kTagBytes, static_cast<uint8_t>(seed));
      const Bytes plain(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size));
      cipher.Seal(nonce, {}, MutableByteSpan(bytes).first(size), bytes);
      EXPECT_TRUE(cipher.Open(nonce, {}, bytes, MutableByteSpan(bytes).first(size)));
      EXPECT_TRUE(std::equal(plain.begin(), plain.end(), bytes.begin()));
    }
  };
  std::vector<std::thread> threads;
  for (uint64_t i = 1; i <= 8; ++i) threads.emplace_back(work, i);
  for (std::thread& thread : threads) thread.join();
}

// RFC 7914, section 12.
TEST(KeyDerivation, ScryptGivesTheVectorsOfItsSpecification) {
  const auto key = Scrypt(Secret("password"), AsBytes("NaCl"), {1024, 8, 16}, 64);
  ASSERT_TRUE(key.ok()) << key.status().ToString();
  EXPECT_EQ(HexEncode(AsBytes(key->view())),
            "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"
            "2eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640");
}

// RFC 5869, appendix A.1.
TEST(KeyDerivation, HkdfGivesTheVectorsOfItsSpecification) {
  const Bytes info = FromHex("f0f1f2f3f4f5f6f7f8f9");
  const Secret key = HkdfSha256(Secret(std::string(22, '\x0b')),
                                FromHex("000102030405060708090a0b0c"), AsText(info), 42);
  EXPECT_EQ(HexEncode(AsBytes(key.view())),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
}

TEST(KeyDerivation, CostsThatAreImpossibleOrTooHighAreRefused) {
  EXPECT_TRUE(ScryptCost().Check().ok());
  EXPECT_TRUE((ScryptCost{1 << 18, 8, 1}.Check().ok()));
  for (const ScryptCost& cost : std::vector<ScryptCost>{{0, 8, 1},
                                                        {1, 8, 1},
                                                        {3, 8, 1},
                                                        {65535, 8, 1},
                                                        {1 << 16, 0, 1},
                                                        {1 << 16, 8, 0},
                                                        {1ull << 30, 8, 1},           // a terabyte
                                                        {1 << 20, 1 << 10, 1},        // 128 GiB
                                                        {1 << 16, 8, 1 << 20},        // days
                                                        {2, 1ull << 63, 1ull << 63},  // overflow
                                                        {1ull << 63, 2, 1}}) {
    EXPECT_TRUE(cost.Check().Is(StatusCode::kCorruption)) << cost.n << " " << cost.r;
  }
}

TEST(Secret, IsCopiedMovedAndWiped) {
  Secret a("top secret");
  const Secret b = a;
  EXPECT_NE(a.view().data(), b.view().data());
  const Secret c = std::move(a);
  EXPECT_TRUE(a.empty());  // NOLINT: that is the question
  EXPECT_EQ(b.view(), "top secret");
  EXPECT_EQ(c.view(), "top secret");
  Secret d("other");
  d = b;
  EXPECT_EQ(d.view(), "top secret");
  d = Secret();
  EXPECT_TRUE(d.empty());
  d.Wipe();
  EXPECT_EQ(Secret::OfSize(5).view(), std::string_view("\0\0\0\0\0", 5));
}

}  // namespace
}  // namespace snapstore
