# Completion of hwc for bash. Load it with:  source <(hwc completion bash)
_hwc() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}
  local commands="check build run emit bench gradcheck fmt completion"
  local command= word
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $word in check|build|run|emit|bench|gradcheck|fmt|completion) command=$word; break ;; esac
  done
  COMPREPLY=()
  case $previous in
    --stage) COMPREPLY=($(compgen -W "ast hw derivatives outlined kernels llvm asm obj plan dot" -- "$current")); return ;;
    --products) COMPREPLY=($(compgen -W "auto library generated" -- "$current")); return ;;
    --out|--data|--bundle) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -d -- "$current")); return ;;
    -o|--output|--trace) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$current")); return ;;
    --set|--threads|--cpu|--checkpoint) return ;;
    completion) COMPREPLY=($(compgen -W "bash zsh" -- "$current")); return ;;
  esac
  if [[ -z $command ]]; then
    COMPREPLY=($(compgen -W "$commands --help --version" -- "$current"))
  elif [[ $current == -* ]]; then
    local flags="--help"
    case $command in
      run) flags+=" --quick --f64 --cpu --set --threads --data --out --force --resume --checkpoint --trace --quiet --describe" ;;
      build) flags+=" --quick --f64 --cpu --set --data --output --bundle --marks" ;;
      check) flags+=" --quick --f64 --cpu --set --data" ;;
      emit) flags+=" --stage --quick --f64 --cpu --set --data --products --output" ;;
      gradcheck) flags+=" --quick --f64 --cpu --set --data --threads" ;;
      bench) flags+=" --quick --f64 --cpu --set --data --products --threads --kernels --no-kernels --trace --benchmark_filter= --benchmark_format="
        flags+=" --benchmark_out= --benchmark_out_format= --benchmark_min_time= --benchmark_repetitions=" ;;
      fmt) flags+=" --check --stdout" ;;
    esac
    COMPREPLY=($(compgen -W "$flags" -- "$current"))
    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
  elif [[ $command != completion ]]; then
    compopt -o filenames 2>/dev/null
    COMPREPLY=($(compgen -f -X '!*.hw' -- "$current") $(compgen -d -- "$current"))
  fi
}
complete -F _hwc hwc
