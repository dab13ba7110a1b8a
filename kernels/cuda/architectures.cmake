# Which GPUs to compile for: those present, else sm_80 and sm_90a (wgmma needs it); a release covers all. PTX of compute_80 behind them, which a driver
# compiles for any other card: a library that was built without seeing a GPU is never without a kernel image.
set(DUO_CUDA_ARCHITECTURE_LIST ${DUO_CUDA_ARCHITECTURES})
if(DUO_CUDA_ARCHITECTURES STREQUAL "release")
  set(DUO_CUDA_ARCHITECTURE_LIST 80-real 86-real 89-real 90a-real 100-real 120-real 80-virtual)
elseif(NOT DUO_CUDA_ARCHITECTURES)
  execute_process(COMMAND nvidia-smi --query-gpu=compute_cap --format=csv,noheader
    OUTPUT_VARIABLE DUO_PRESENT_CAPABILITIES OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE DUO_SMI_RESULT)
  if(DUO_SMI_RESULT EQUAL 0 AND DUO_PRESENT_CAPABILITIES MATCHES "^[0-9]+\\.[0-9]")
    string(REPLACE "." "" DUO_CUDA_ARCHITECTURE_LIST "${DUO_PRESENT_CAPABILITIES}")
    string(REGEX REPLACE "[\r\n]+" ";" DUO_CUDA_ARCHITECTURE_LIST "${DUO_CUDA_ARCHITECTURE_LIST}")
    list(REMOVE_DUPLICATES DUO_CUDA_ARCHITECTURE_LIST)
    list(TRANSFORM DUO_CUDA_ARCHITECTURE_LIST REPLACE "^90$" "90a")
    list(TRANSFORM DUO_CUDA_ARCHITECTURE_LIST APPEND "-real")
  else()
    set(DUO_CUDA_ARCHITECTURE_LIST 80-real 90a-real 80-virtual)
  endif()
endif()
