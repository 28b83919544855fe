#include "orchestrator/localcloud/parameters.h"

#include <gtest/gtest.h>

namespace snapstore::localcloud {
namespace {

TEST(ParametersTest, ListsAreInTheOrderOfTheirNumbers) {
  const Parameters p({{"InstanceId.10", "c"},
                      {"InstanceId.2", "b"},
                      {"InstanceId.1", "a"},
                      {"InstanceIds.1", "x"}});
  EXPECT_EQ(p.List("InstanceId"), (std::vector<std::string>{"a", "b", "c"}));
}

TEST(ParametersTest, StructuresNest) {
  const Parameters p({{"Filter.1.Name", "n"}, {"Filter.1.Value.1", "v"}, {"Filter.2.Name", "m"}});
  const auto filters = p.Structures("Filter");
  ASSERT_EQ(filters.size(), 2u);
  EXPECT_EQ(filters[0].List("Value"), std::vector<std::string>{"v"});
  EXPECT_EQ(filters[1].Text("Name"), "m");
}

TEST(ParametersTest, WhatIsNotKnownIsNamed) {
  const Parameters p({{"Action", "A"}, {"Filter.3.Name", "n"}, {"Filter.3.Colour", "red"}});
  const ApiError error = p.Check({"Filter.N.Name"});
  EXPECT_EQ(error.code, "UnknownParameter");
  EXPECT_NE(error.message.find("Filter.3.Colour"), std::string::npos);
  EXPECT_TRUE(p.Check({"Filter.N.Name", "Filter.N.Colour"}).ok());
}

TEST(ParametersTest, NumbersAndTruthsAreChecked) {
  const Parameters p({{"Size", "8x"}, {"Force", "yes"}, {"Iops", "3000"}});
  EXPECT_EQ(p.Number("Size", 0).status().code, "InvalidParameterValue");
  EXPECT_EQ(p.Truth("Force", false).status().code, "InvalidParameterValue");
  EXPECT_EQ(p.Number("Iops", 0).value(), 3000u);
  EXPECT_EQ(p.Number("None", 7).value(), 7u);
  EXPECT_EQ(p.Required("None").status().code, "MissingParameter");
}

}  // namespace
}  // namespace snapstore::localcloud
