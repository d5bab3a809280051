# Completion of vmc for fish. For all shells to come:
#   vmc completion fish > ~/.config/fish/completions/vmc.fish
function __vmc_complete
    set -l words (commandline -opc) (commandline -ct)
    $words[1] complete -- $words[2..] 2>/dev/null
end
complete -c vmc -a '(__vmc_complete)'
