# Writes the completion scripts into a C++ file as raw strings.
file(READ ${BASH} bash)
file(READ ${ZSH} zsh)
file(WRITE ${OUTPUT} "extern \"C\" const char hw_completion_bash[], hw_completion_zsh[];
const char hw_completion_bash[] = R\"~(${bash})~\";
const char hw_completion_zsh[] = R\"~(${zsh})~\";
")
