#!/bin/sh
# Called by cargo in place of rustc: the crates that $INSTRUMENTED names are compiled with libFuzzer's instrumentation, and
# nothing else is. Only what is under test shall guide the fuzzer; the runtime's scheduling, which differs from run to run,
# would fill the corpus with noise.
rustc=$1
shift
for crate in $INSTRUMENTED; do
    case " $* " in
    *" --crate-name $crate "*)
        exec "$rustc" "$@" -Ccodegen-units=1 -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
            -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
            -Cllvm-args=-sanitizer-coverage-trace-compares
        ;;
    esac
done
exec "$rustc" "$@"
