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

# The kernels once more for each wider instruction set, as libraries that hold the same names: a worker is linked with one of them
# (kernels/). What the processor claims is not believed; the worker tries them (src/kernels.rs). A worker for a graphics processor
# has those of x86-64-v3 beside it.
if(PROJECT_NAME STREQUAL "ggml" AND NOT GGML_VULKAN AND NOT GGML_CUDA)
    function(aios_add_kernels name)
        get_target_property(directory ggml-cpu SOURCE_DIR)
        get_target_property(sources ggml-cpu SOURCES)
        list(TRANSFORM sources PREPEND "${directory}/")
        add_library(ggml-cpu-${name} STATIC ${sources})
        foreach(property INCLUDE_DIRECTORIES COMPILE_DEFINITIONS COMPILE_OPTIONS COMPILE_FEATURES LINK_LIBRARIES)
            get_target_property(value ggml-cpu ${property})
            if(value)
                set_property(TARGET ggml-cpu-${name} APPEND PROPERTY ${property} ${value})
            endif()
        endforeach()
        # What ggml's own folder adds to everything in it.
        get_directory_property(definitions DIRECTORY "${directory}" COMPILE_DEFINITIONS)
        target_compile_definitions(ggml-cpu-${name} PRIVATE ${definitions})
        foreach(feature ${ARGN})
            string(TOLOWER "-m${feature}" flag)
            target_compile_options(ggml-cpu-${name} PRIVATE ${flag})
        endforeach()
        # Where the linker looks for libraries, but not where the binding takes all that it finds into its own.
        set_target_properties(ggml-cpu-${name} PROPERTIES ARCHIVE_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/common")
    endfunction()
    function(aios_add_all_kernels)
        set(avx512 AVX512F AVX512CD AVX512BW AVX512DQ AVX512VL)
        aios_add_kernels(avx-vnni AVXVNNI)
        aios_add_kernels(avx512 ${avx512})
        aios_add_kernels(avx512-vnni ${avx512} AVX512VBMI AVX512VNNI)
    endfunction()
    cmake_language(DEFER CALL aios_add_all_kernels)
endif()

# Names that Debian's Vulkan headers are too old for.
if(PROJECT_NAME STREQUAL "ggml" AND GGML_VULKAN)
    set(aios_layer_settings "${CMAKE_CURRENT_LIST_DIR}/kernels/vulkan/layer_settings.hpp")
    function(aios_add_names)
        target_compile_options(ggml-vulkan PRIVATE "SHELL:-include ${aios_layer_settings}")
    endfunction()
    cmake_language(DEFER CALL aios_add_names)
endif()

# One code for all processors of NVIDIA since Ampere (2020), which the driver translates for the one that is there. CUDAARCHS,
# CMake's own variable, names others. Without it ggml compiles for seven, which takes hours on two cores.
if(PROJECT_NAME STREQUAL "ggml" AND GGML_CUDA)
    if(DEFINED ENV{CUDAARCHS})
        set(CMAKE_CUDA_ARCHITECTURES $ENV{CUDAARCHS})
    else()
        set(CMAKE_CUDA_ARCHITECTURES 80-virtual)
    endif()
endif()
