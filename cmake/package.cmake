# The Debian package spate: the program, its documents and its service. `make deb` writes it. The library is for
# `make install`.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME spate)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "Spate's maintainers <maintainers@spate.invalid>")
set(CPACK_PACKAGE_DIRECTORY ${CMAKE_BINARY_DIR}/packages)
set(CPACK_SET_DESTDIR ON) # settings are in /etc, outside the prefix
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_ALL spate)
set(CPACK_COMPONENTS_GROUPING IGNORE)

set(CPACK_DEBIAN_SPATE_PACKAGE_NAME spate)
set(CPACK_DEBIAN_SPATE_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_SPATE_DESCRIPTION "inference server for large language models
Builds an engine from a Hugging Face or GGUF model, serves it over HTTP with
OpenAI's paths and its own, generates on the terminal and measures.

There is a systemd service, which is not enabled: it needs a model first.")
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS ca-certificates) # images that are fetched by https://
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(control ${CMAKE_SOURCE_DIR}/deploy/debian)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${control}/conffiles ${control}/postinst ${control}/prerm ${control}/postrm)

file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/debian)
configure_file(${control}/changelog.in ${CMAKE_BINARY_DIR}/debian/changelog @ONLY)
execute_process(COMMAND gzip -9nf ${CMAKE_BINARY_DIR}/debian/changelog COMMAND_ERROR_IS_FATAL ANY)
install(FILES ${control}/copyright ${CMAKE_BINARY_DIR}/debian/changelog.gz
        DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/spate COMPONENT spate)
file(WRITE ${CMAKE_BINARY_DIR}/debian/epoch.cmake "set(ENV{SOURCE_DATE_EPOCH} ${SPATE_EPOCH})\n")
set(CPACK_PROJECT_CONFIG_FILE ${CMAKE_BINARY_DIR}/debian/epoch.cmake)
include(CPack)
