# Of llama.cpp the engine uses the library alone. The helpers of llama.cpp's own programs, for which the binding's build always
# asks, take as long to compile as all the rest: here they are left empty. Nothing of ours refers to them, so nothing is missing
# where the engine is linked. Read after llama.cpp's own project() (CMAKE_PROJECT_INCLUDE, see .cargo/config.toml).
if(PROJECT_NAME STREQUAL "llama.cpp")
    file(WRITE "${CMAKE_BINARY_DIR}/empty.cpp" "namespace { int nothing [[maybe_unused]]; }\n")
    function(aios_leave_empty)
        foreach(target llama-common cpp-httplib)
            if(TARGET ${target})
                set_property(TARGET ${target} PROPERTY SOURCES "${CMAKE_BINARY_DIR}/empty.cpp")
            endif()
        endforeach()
    endfunction()
    # At the end of llama.cpp's own CMakeLists.txt.
    cmake_language(DEFER CALL aios_leave_empty)
endif()
