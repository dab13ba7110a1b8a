# Sourced by the measurements of this folder, which run in the repository's root: what they need from the environment.
#   M          the published model, SmolLM2-135M-Instruct as a GGUF file or a folder
#   LEARN      a folder of books to learn from          MEASURE   a folder of others to measure on
#   BUILD      where scripts/build-gpu built (default kernels/build-gpu)          OUT       a folder for results
: "${M:?Expected M to name the published model}" "${LEARN:?Expected LEARN to name a folder of books}"
: "${MEASURE:?Expected MEASURE to name a folder of other books}" "${OUT:?Expected OUT to name a folder for results}"
BUILD=${BUILD:-kernels/build-gpu}
DUO_NATIVE_LIBRARY=${DUO_NATIVE_LIBRARY:-$(realpath "$BUILD/libduo.so")}
export M LEARN MEASURE OUT BUILD DUO_NATIVE_LIBRARY
