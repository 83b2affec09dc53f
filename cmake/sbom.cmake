# What the program is linked with, as SPDX 2.3 in JSON: spate.spdx.json in the build folder, which `make install`, the
# Debian package and the images carry. A library that cmake/dependencies.cmake finds has a line here;
# tests/e2e/test_sbom.py compares them with what the program asks the loader for.
set(SBOM ${CMAKE_BINARY_DIR}/spate.spdx.json)
set(sbom [[{"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": "spate",
  "creationInfo": {"creators": ["Tool: spate-cmake"]}, "packages": [], "relationships": []}]])
set(sbom_count 0)

function(sbom_relate from type to)
  string(JSON count LENGTH "${sbom}" relationships)
  string(JSON sbom SET "${sbom}" relationships ${count}
    "{\"spdxElementId\": \"${from}\", \"relationshipType\": \"${type}\", \"relatedSpdxElement\": \"${to}\"}")
  set(sbom "${sbom}" PARENT_SCOPE)
endfunction()

function(sbom_package name version license where)
  string(JSON sbom SET "${sbom}" packages ${sbom_count} "{
    \"name\": \"${name}\", \"SPDXID\": \"SPDXRef-Package-${name}\", \"versionInfo\": \"${version}\",
    \"downloadLocation\": \"${where}\", \"filesAnalyzed\": false, \"licenseConcluded\": \"${license}\",
    \"licenseDeclared\": \"${license}\", \"copyrightText\": \"NOASSERTION\", \"externalRefs\": [{
      \"referenceCategory\": \"PACKAGE-MANAGER\", \"referenceType\": \"purl\",
      \"referenceLocator\": \"pkg:generic/${name}@${version}\"}]}")
  math(EXPR sbom_count "${sbom_count} + 1")
  if(name STREQUAL PROJECT_NAME)
    sbom_relate(SPDXRef-DOCUMENT DESCRIBES SPDXRef-Package-${name})
  elseif(ARGN OR SPATE_STATIC)
    sbom_relate(SPDXRef-Package-${PROJECT_NAME} STATIC_LINK SPDXRef-Package-${name})
  else()
    sbom_relate(SPDXRef-Package-${PROJECT_NAME} DYNAMIC_LINK SPDXRef-Package-${name})
  endif()
  set(sbom "${sbom}" PARENT_SCOPE)
  set(sbom_count ${sbom_count} PARENT_SCOPE)
endfunction()

# By the header, where there is no pkg-config file or it has the number of the interface.
function(sbom_header_version out header prefix)
  find_path(${prefix}_INCLUDE ${header} REQUIRED)
  file(STRINGS ${${prefix}_INCLUDE}/${header} numbers REGEX "^#define ${prefix}_VERSION_(MAJOR|MINOR|PATCH) ")
  list(TRANSFORM numbers REPLACE "^[^ ]+ [^ ]+ +([0-9]+).*" "\\1")
  list(JOIN numbers "." version)
  set(${out} ${version} PARENT_SCOPE)
endfunction()

sbom_header_version(http_parser_version http_parser.h HTTP_PARSER)
sbom_header_version(utf8proc_version utf8proc.h UTF8PROC)
execute_process(COMMAND getconf GNU_LIBC_VERSION OUTPUT_VARIABLE libc OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
string(REGEX REPLACE ".* " "" libc "${libc}")

sbom_package(${PROJECT_NAME} ${PROJECT_VERSION} Apache-2.0 NOASSERTION)
sbom_package(glibc "${libc}" LGPL-2.1-or-later https://www.gnu.org/software/libc/)
sbom_package(http-parser ${http_parser_version} MIT https://github.com/nodejs/http-parser)
sbom_package(jansson ${JANSSON_VERSION} MIT https://github.com/akheron/jansson)
sbom_package(libjpeg-turbo ${JPEG_VERSION} "BSD-3-Clause AND IJG" https://libjpeg-turbo.org)
sbom_package(libpng ${PNG_libpng16_VERSION} libpng-2.0 http://www.libpng.org/pub/png/libpng.html)
sbom_package(libuv ${LIBUV_VERSION} MIT https://libuv.org)
sbom_package(libyaml ${YAML_VERSION} MIT https://github.com/yaml/libyaml)
sbom_package(libwebp ${WEBP_VERSION} BSD-3-Clause https://developers.google.com/speed/webp)
sbom_package(openssl ${OPENSSL_libssl_VERSION} Apache-2.0 https://openssl-library.org)
sbom_package(pcre2 ${PCRE2_VERSION} BSD-3-Clause https://github.com/PCRE2Project/pcre2)
sbom_package(utf8proc ${utf8proc_version} MIT https://github.com/JuliaStrings/utf8proc)
sbom_package(xxhash ${XXHASH_VERSION} BSD-2-Clause https://github.com/Cyan4973/xxHash)
sbom_package(zlib ${PNG_zlib_VERSION} Zlib https://zlib.net)
if(SPATE_CUDA)
  sbom_package(cuda-cudart ${CUDAToolkit_VERSION} LicenseRef-NVIDIA-CUDA-EULA https://developer.nvidia.com/cuda-toolkit STATIC)
  string(JSON sbom SET "${sbom}" hasExtractedLicensingInfos [=[[{"licenseId": "LicenseRef-NVIDIA-CUDA-EULA",
    "name": "NVIDIA CUDA Toolkit End User License Agreement", "extractedText": "https://docs.nvidia.com/cuda/eula/"}]]=])
endif()

# Made at the commit's time; its name in the world is the hash of what it holds.
string(TIMESTAMP created "%Y-%m-%dT%H:%M:%SZ" UTC)
string(SHA256 hash "${sbom}")
string(JSON sbom SET "${sbom}" creationInfo created "\"${created}\"")
string(JSON sbom SET "${sbom}" documentNamespace "\"https://spate.invalid/spdx/${PROJECT_NAME}-${PROJECT_VERSION}-${hash}\"")
file(CONFIGURE OUTPUT ${SBOM} CONTENT "${sbom}\n" @ONLY)
install(FILES ${SBOM} DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/spate COMPONENT spate)
