# What cmake --install puts where: headers, libraries, a CMake package (components core and http), pkg-config files.
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/executors)
file(RELATIVE_PATH EXECUTORS_PC_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)

# executors_install(COMPONENT LIBRARY): both libraries, their export file and LIBRARY.pc.
function(executors_install component library)
	string(REPLACE _ - pc ${library})
	install(TARGETS ${library} ${library}_static EXPORT executors-${component})
	install(EXPORT executors-${component} NAMESPACE executors:: DESTINATION ${package_dir})
	configure_file(cmake/${pc}.pc.in ${pc}.pc @ONLY)
	install(FILES ${CMAKE_CURRENT_BINARY_DIR}/${pc}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endfunction()

executors_install(core executors)
install(DIRECTORY include/executors DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} PATTERN http.h EXCLUDE)
if(TARGET executors_http)
	executors_install(http executors_http)
	install(FILES include/executors/http.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/executors)
endif()

configure_package_config_file(cmake/executors-config.cmake.in executors-config.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(executors-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/executors-config.cmake
	${CMAKE_CURRENT_BINARY_DIR}/executors-config-version.cmake DESTINATION ${package_dir})
