#include "base/near_names.h"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace snapstore {
namespace {

// Levenshtein's distance, one row at a time (Wagner and Fischer 1974).
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row[b.size()];
}

}  // namespace

std::vector<std::string> NearNames(std::string_view name, const std::vector<std::string>& known) {
  constexpr size_t kEditsMax = 2;
  std::vector<std::pair<size_t, std::string>> near;
  for (const std::string& candidate : known) {
    const bool begins = name.size() >= 2 && candidate.starts_with(name);
    const size_t edits = begins ? 0 : EditDistance(name, candidate);
    // Two edits turn any two-letter word into any other.
    if (edits <= kEditsMax && edits < candidate.size() - 1) near.emplace_back(edits, candidate);
  }
  std::sort(near.begin(), near.end());
  std::vector<std::string> names;
  names.reserve(near.size());
  for (auto& [edits, candidate] : near) names.push_back(std::move(candidate));
  return names;
}

std::string DidYouMean(std::string_view name, const std::vector<std::string>& known) {
  std::string question;
  for (const std::string& near : NearNames(name, known)) {
    question += (question.empty() ? "; did you mean '" : " or '") + near + "'";
  }
  return question.empty() ? question : question + "?";
}

}  // namespace snapstore
