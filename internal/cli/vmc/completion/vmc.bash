# Completion of vmc for bash. For all shells to come:
#   vmc completion bash > ~/.local/share/bash-completion/completions/vmc
# or, without the package bash-completion, a line in ~/.bashrc:
#   source <(vmc completion bash)
_vmc() {
    local line=${COMP_LINE:0:COMP_POINT} words word
    COMPREPLY=()
    # COMP_WORDS is split at colons and equals signs, which vmc has inside of words
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    local typed=${words[${#words[@]}-1]} current=${COMP_WORDS[COMP_CWORD]}
    while IFS= read -r word; do
        # what is typed already of the word, up to the sign where bash splits it, stays
        COMPREPLY+=("${word:${#typed}-${#current}}")
    done < <("${words[0]}" complete -- "${words[@]:1}" 2>/dev/null)
}
complete -o default -F _vmc vmc
