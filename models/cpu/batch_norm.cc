// The C++ half of batch_norm.py. Tensors are float32 (N, C, spatial...), contiguous.
#include <cmath>
#include <cstdint>

namespace cpu_batch_norm {
struct Layout {
    int64_t batch, channels, pixels;
    template <class Shape>
    explicit Layout(const Shape& shape) : batch(shape[0]), channels(shape[1]), pixels(1) {
        for (int i = 2; i < (int)shape.size(); i++) pixels *= shape[i];
    }
    int64_t offset(int64_t n, int64_t c) const { return (n * channels + c) * pixels; }
    double count() const { return double(batch) * pixels; }
};

template <class Shape>
void forward(const float* x, const Shape& shape, const float* weight, const float* bias, double eps, float* y,
             float* mean, float* variance) {
    Layout l(shape);
    #pragma omp parallel for
    for (int64_t c = 0; c < l.channels; c++) {
        double total = 0, squares = 0;
        for (int64_t n = 0; n < l.batch; n++) {
            const float* p = x + l.offset(n, c);
            float s = 0, q = 0;
            #pragma omp simd reduction(+ : s, q)
            for (int64_t i = 0; i < l.pixels; i++) { s += p[i]; q += p[i] * p[i]; }
            total += s; squares += q;
        }
        double m = total / l.count(), v = std::fmax(squares / l.count() - m * m, 0.0);
        mean[c] = m; variance[c] = v;
        float scale = weight[c] / std::sqrt(v + eps), shift = bias[c] - m * scale;
        for (int64_t n = 0; n < l.batch; n++) {
            const float* p = x + l.offset(n, c);
            float* o = y + l.offset(n, c);
            #pragma omp simd
            for (int64_t i = 0; i < l.pixels; i++) o[i] = p[i] * scale + shift;
        }
    }
}

template <class Shape>
void backward(const float* x, const Shape& shape, const float* weight, const float* mean, const float* variance,
              double eps, const float* dy, float* dx, float* dweight, float* dbias) {
    Layout l(shape);
    #pragma omp parallel for
    for (int64_t c = 0; c < l.channels; c++) {
        float m = mean[c], inverse = 1 / std::sqrt(variance[c] + eps);
        double sum_dy = 0, sum_dy_x = 0;
        for (int64_t n = 0; n < l.batch; n++) {
            const float *p = x + l.offset(n, c), *g = dy + l.offset(n, c);
            float s = 0, q = 0;
            #pragma omp simd reduction(+ : s, q)
            for (int64_t i = 0; i < l.pixels; i++) { s += g[i]; q += g[i] * (p[i] - m); }
            sum_dy += s; sum_dy_x += q;
        }
        dbias[c] = sum_dy; dweight[c] = sum_dy_x * inverse;
        float scale = weight[c] * inverse;
        float slope = -scale * inverse * inverse * sum_dy_x / l.count();
        float shift = -scale * sum_dy / l.count() - slope * m;
        for (int64_t n = 0; n < l.batch; n++) {
            const float *p = x + l.offset(n, c), *g = dy + l.offset(n, c);
            float* o = dx + l.offset(n, c);
            #pragma omp simd
            for (int64_t i = 0; i < l.pixels; i++) o[i] = g[i] * scale + p[i] * slope + shift;
        }
    }
}

// y = x * scale[c] + shift[c], and its gradients.
template <class Shape>
void affine_forward(const float* x, const Shape& shape, const float* scale, const float* shift, float* y) {
    Layout l(shape);
    #pragma omp parallel for
    for (int64_t c = 0; c < l.channels; c++)
        for (int64_t n = 0; n < l.batch; n++) {
            const float* p = x + l.offset(n, c);
            float *o = y + l.offset(n, c), a = scale[c], b = shift[c];
            #pragma omp simd
            for (int64_t i = 0; i < l.pixels; i++) o[i] = p[i] * a + b;
        }
}

template <class Shape>
void affine_backward(const float* x, const Shape& shape, const float* scale, const float* dy, float* dx, float* dscale,
                     float* dshift) {
    Layout l(shape);
    #pragma omp parallel for
    for (int64_t c = 0; c < l.channels; c++) {
        double sum_dy = 0, sum_dy_x = 0;
        for (int64_t n = 0; n < l.batch; n++) {
            const float *p = x + l.offset(n, c), *g = dy + l.offset(n, c);
            float *o = dx + l.offset(n, c), a = scale[c], s = 0, q = 0;
            #pragma omp simd reduction(+ : s, q)
            for (int64_t i = 0; i < l.pixels; i++) { s += g[i]; q += g[i] * p[i]; o[i] = g[i] * a; }
            sum_dy += s; sum_dy_x += q;
        }
        dscale[c] = sum_dy_x; dshift[c] = sum_dy;
    }
}
}  // namespace cpu_batch_norm
