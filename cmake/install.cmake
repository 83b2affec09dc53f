# What `make install` and packages put where: the program, its documents and service, and for those who embed it the
# library, its header and its pkg-config file. Paths that depend on the prefix are decided when it is known, at installing.
include(GNUInstallDirs)

if(NOT CMAKE_CROSSCOMPILING)
  # Man pages and completions come from the tables in the program itself.
  set(documents ${CMAKE_BINARY_DIR}/documents)
  add_custom_command(
    OUTPUT ${documents}/made
    COMMAND ${CMAKE_COMMAND} -DSPATE=$<TARGET_FILE:spate> -DTO=${documents} -P ${CMAKE_SOURCE_DIR}/cmake/documents.cmake
    DEPENDS spate ${CMAKE_SOURCE_DIR}/cmake/documents.cmake
    VERBATIM)
  if(SPATE_SANITIZE) # such a program is slow, and nobody installs it
    add_custom_target(documents DEPENDS ${documents}/made)
  else()
    add_custom_target(documents ALL DEPENDS ${documents}/made)
  endif()
  install(DIRECTORY ${documents}/man/ DESTINATION ${CMAKE_INSTALL_MANDIR} COMPONENT spate)
  install(DIRECTORY ${documents}/completions/ DESTINATION ${CMAKE_INSTALL_DATADIR} COMPONENT spate)
endif()

install(TARGETS spate RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT spate)
# Documents lie as they do in the source, so that their links lead somewhere.
set(doc ${CMAKE_INSTALL_DATADIR}/doc/spate)
install(FILES README.md ARCHITECTURE.md SPEED.md DESTINATION ${doc} COMPONENT spate)
install(DIRECTORY docs DESTINATION ${doc} COMPONENT spate)
install(PROGRAMS deploy/start_server.sh DESTINATION ${doc}/examples COMPONENT spate)
install(FILES deploy/systemd/gpu.conf deploy/loadtest/locustfile.py examples/embed.c examples/many_prompts.c examples/fastapi_server.py
        DESTINATION ${doc}/examples COMPONENT spate)
install(DIRECTORY deploy/prometheus deploy/grafana DESTINATION ${doc}/examples COMPONENT spate)
install(CODE "set(SPATE_SOURCE \"${CMAKE_SOURCE_DIR}\")\nset(SPATE_DOCUMENTS \"${documents}\")\nset(SPATE_BINDIR \"${CMAKE_INSTALL_BINDIR}\")\nset(SPATE_MANDIR \"${CMAKE_INSTALL_MANDIR}\")" COMPONENT spate)
install(SCRIPT cmake/install_by_prefix.cmake COMPONENT spate)

install(TARGETS libspate LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library)
install(FILES include/spate.h include/spate_embed.h include/spate_image.h include/spate_lora.h include/spate_text.h include/spate_tools.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT library)
file(RELATIVE_PATH SPATE_PC_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(cmake/spate.pc.in ${CMAKE_BINARY_DIR}/spate.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/spate.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT library)
