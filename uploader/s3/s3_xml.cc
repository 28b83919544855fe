#include "uploader/s3/s3_xml.h"

#include <charconv>
#include <pugixml.hpp>
#include <sstream>

#include "base/clock.h"
#include "base/status_macros.h"
#include "uploader/http/url.h"
#include "uploader/s3/s3_error.h"

namespace snapstore {
namespace {

constexpr const char* kNamespace = "http://s3.amazonaws.com/doc/2006-03-01/";

// The root of `xml`, if it has that name.
Result<pugi::xml_node> Load(pugi::xml_document* document, ByteSpan xml, const char* root) {
  const pugi::xml_parse_result parsed = document->load_buffer(xml.data(), xml.size());
  const pugi::xml_node node = document->child(root);
  if (!parsed || !node) return Status::Io(std::string("the server sent no ") + root);
  return node;
}

std::string Write(const pugi::xml_document& document) {
  std::ostringstream text;
  document.save(text, "", pugi::format_raw | pugi::format_no_declaration);
  return text.str();
}

pugi::xml_node NewRoot(pugi::xml_document* document, const char* name) {
  pugi::xml_node root = document->append_child(name);
  root.append_attribute("xmlns").set_value(kNamespace);
  return root;
}

void AddText(pugi::xml_node parent, const char* name, const std::string& text) {
  parent.append_child(name).text().set(text.c_str());
}

// An <Error> that came with a success.
S3Error ErrorIn(const pugi::xml_node& node) {
  return {.http_status = HttpStatus::kOk,
          .code = node.child_value("Code"),
          .message = node.child_value("Message")};
}

}  // namespace

Result<S3ListPage> ParseListPage(ByteSpan xml) {
  pugi::xml_document document;
  SNAP_ASSIGN_OR_RETURN(const pugi::xml_node root, Load(&document, xml, "ListBucketResult"));
  S3ListPage page;
  for (const pugi::xml_node node : root.children("Contents")) {
    S3ListPage::Object object;
    SNAP_ASSIGN_OR_RETURN(object.key, PercentDecode(node.child_value("Key")));
    const std::string_view size = node.child_value("Size");
    const auto [end, error] = std::from_chars(size.data(), size.data() + size.size(), object.size);
    if (error != std::errc() || end != size.data() + size.size() || object.key.empty()) {
      return Status::Io("the server sent a list with a key or size that is none");
    }
    const Result<int64_t> modified = ParseTime(node.child_value("LastModified"));
    if (!modified.ok()) {
      return Status::Io("the server sent a list with a time of change that is none");
    }
    object.modified_ns = *modified;
    page.objects.push_back(std::move(object));
  }
  if (std::string_view(root.child_value("IsTruncated")) == "true") {
    page.next_token = root.child_value("NextContinuationToken");
    if (page.next_token.empty()) {
      return Status::Io("the server sent a part of a list, and no token for the rest");
    }
  }
  return page;
}

Result<S3UploadPage> ParseUploadPage(ByteSpan xml) {
  pugi::xml_document document;
  SNAP_ASSIGN_OR_RETURN(const pugi::xml_node root,
                        Load(&document, xml, "ListMultipartUploadsResult"));
  S3UploadPage page;
  for (const pugi::xml_node node : root.children("Upload")) {
    S3UploadPage::Upload upload;
    upload.id = node.child_value("UploadId");
    SNAP_ASSIGN_OR_RETURN(upload.key, PercentDecode(node.child_value("Key")));
    Result<int64_t> initiated = ParseTime(node.child_value("Initiated"));
    if (upload.key.empty() || upload.id.empty() || !initiated.ok()) {
      return Status::Io("the server sent a list with an upload that is none");
    }
    upload.initiated_ns = *initiated;
    page.uploads.push_back(std::move(upload));
  }
  if (std::string_view(root.child_value("IsTruncated")) == "true") {
    SNAP_ASSIGN_OR_RETURN(page.next_key, PercentDecode(root.child_value("NextKeyMarker")));
    page.next_upload = root.child_value("NextUploadIdMarker");
    if (page.next_key.empty()) {
      return Status::Io("the server sent a part of a list, and not where the rest begins");
    }
  }
  return page;
}

Result<std::string> ParseUploadId(ByteSpan xml) {
  pugi::xml_document document;
  SNAP_ASSIGN_OR_RETURN(const pugi::xml_node root,
                        Load(&document, xml, "InitiateMultipartUploadResult"));
  std::string id = root.child_value("UploadId");
  if (id.empty()) return Status::Io("the server sent no id for a multipart upload");
  return id;
}

std::string CompleteUploadXml(const std::vector<std::string>& etags) {
  pugi::xml_document document;
  pugi::xml_node root = NewRoot(&document, "CompleteMultipartUpload");
  for (size_t n = 0; n < etags.size(); ++n) {
    pugi::xml_node part = root.append_child("Part");
    AddText(part, "PartNumber", std::to_string(n + 1));
    AddText(part, "ETag", etags[n]);
  }
  return Write(document);
}

Status ParseCompletion(ByteSpan xml) {
  pugi::xml_document document;
  const pugi::xml_parse_result parsed = document.load_buffer(xml.data(), xml.size());
  if (const pugi::xml_node error = document.child("Error")) return ToStatus(ErrorIn(error));
  if (parsed && document.child("CompleteMultipartUploadResult")) return {};
  return Status::Io("the server does not say whether the upload is complete");
}

std::string DeleteObjectsXml(const std::vector<std::string>& keys) {
  pugi::xml_document document;
  pugi::xml_node root = NewRoot(&document, "Delete");
  AddText(root, "Quiet", "false");
  for (const std::string& key : keys) AddText(root.append_child("Object"), "Key", key);
  return Write(document);
}

Result<S3Deletion> ParseDeletion(ByteSpan xml) {
  pugi::xml_document document;
  SNAP_ASSIGN_OR_RETURN(const pugi::xml_node root, Load(&document, xml, "DeleteResult"));
  S3Deletion deletion;
  for (const pugi::xml_node node : root.children("Deleted")) {
    deletion.deleted.emplace_back(node.child_value("Key"));
  }
  for (const pugi::xml_node node : root.children("Error")) {
    deletion.failed.emplace_back(node.child_value("Key"), ErrorIn(node));
  }
  return deletion;
}

}  // namespace snapstore
