/* What signals are called. */
#ifndef EXSI_BASE_SIGNAL_TEXT_H
#define EXSI_BASE_SIGNAL_TEXT_H

/* Static text, not translated: "Segmentation fault". NULL: no such signal, or not known on this system. MT-safe. */
const char *exsi_signal_text(int signal);

#endif
