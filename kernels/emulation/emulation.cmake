# DUO_CUDA=EMULATED: the CUDA sources compiled as host C++ against cuda_emulation.h. The library then has a device "cuda:0" that is a CPU.
# For tests only: nothing it computes says anything about a GPU's speed.
file(GLOB DUO_EMULATION_SOURCES CONFIGURE_DEPENDS emulation/*.cpp)
set_source_files_properties(${DUO_CUDA_SOURCES} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-xc++")
add_library(duo_cuda OBJECT ${DUO_CUDA_SOURCES} ${DUO_EMULATION_SOURCES})
target_include_directories(duo_cuda PUBLIC include ${CMAKE_CURRENT_SOURCE_DIR})
# -O1 for kernels and references: fibers switch far more often than those compute, and the large unrolled bodies compile in seconds. -O3 for what they
# spend their time in: turns of threads and the products of tensor cores.
add_compile_options(-O1)
target_compile_options(duo_objects PRIVATE -O1)
target_compile_options(duo_cuda PRIVATE -O1 -Wno-unknown-pragmas)
set_source_files_properties(${DUO_EMULATION_SOURCES} PROPERTIES COMPILE_OPTIONS -O3)
target_compile_definitions(duo_cuda PUBLIC DUO_WITH_CUDA DUO_EMULATION)
target_compile_definitions(duo_objects PUBLIC DUO_WITH_CUDA)
